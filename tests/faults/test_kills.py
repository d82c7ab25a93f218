"""`kill -9`, at random points."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daglens.instance import Instance
from daglens.testing.faults import kill_between
from daglens.upkeep import reap
from tests.acceptance.followers import by_socket
from tests.acceptance.programs import Serve
from tests.faults.conftest import Trial
from tests.faults.instances import batch, log_of, numbers_of, opened, postgres_home
from tests.recorder.conftest import Program, only_run, until
from tests.server.conftest import TRANSPORT
from tests.storages.children import outputs, start
from tests.storages.postgres_server import PostgresServer

# Appends batches and says after each how many events are acknowledged.
WRITER = """
import sys
from daglens.instance import Instance
from tests.faults.instances import batch

home, name, size, batches = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Instance.open(home=home) as instance:
    for number in range(batches):
        instance.append("run", batch(name, number * size, size))
        print((number + 1) * size, flush=True)
"""

# Stops at the n-th statement of an append, or when that is done, and says so.
STOPS_AT = """
import sys
from daglens.instance import Instance
from tests.faults.instances import batch

home, left, stop_at = sys.argv[1], 0, int(sys.argv[2])

def stop(statement, *_):
    global left
    left += 1
    if left == stop_at:
        print("stopped", flush=True)
        sys.stdin.readline()

with Instance.open(home=home) as instance:
    instance.append("run", [])
    database = instance.events.database
    setattr(database, "on_statement" if hasattr(database, "on_statement") else "on_message", stop)
    instance.append("run", batch("victim", 0, 10))
    print("stored", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An instance that several processes write to."""
    if request.param == "sqlite":
        return tmp_path
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres_home(tmp_path, postgres.url, request.getfixturevalue("postgres_schema"))


@pytest.mark.fault("kill_writer")
def test_writer(trial: Trial, shared: Path) -> None:
    """What it had acknowledged is there in order, no batch by half; another writer goes on; a retry stores the rest."""
    size, lines = trial.random.randint(1, 50), trial.random.randint(1, 20)
    with opened(shared) as instance:
        victim = start(WRITER, shared, "victim", size, 1000)
        other = start(WRITER, shared, "other", 10, 20)
        printed = kill_between(victim, lines)
        outputs([other])
        stored = numbers_of(instance, "victim")
        trial.kept(int(printed[-1]), len(stored))
        assert stored == list(range(len(stored))) and len(stored) % size == 0
        assert numbers_of(instance, "other") == list(range(200))
        done = instance.append("run", batch("victim", 0, len(stored) + size))
        assert (done.accepted, done.duplicates) == (size, len(stored))


@pytest.mark.fault("kill_between")
def test_between_two_statements(trial: Trial, shared: Path) -> None:
    """The append is there whole or not at all, and nobody waits for it."""
    with opened(shared) as instance:
        victim = start(STOPS_AT, shared, trial.random.randint(1, 8))
        told = kill_between(victim, 1)
        stored = len(numbers_of(instance, "victim"))
        assert stored in (0, 10)
        trial.kept(10 if told == ["stored"] else 0, stored)
        done = instance.append("run", batch("victim", 0, 10))
        assert (done.accepted, done.duplicates) == (10 - stored, stored)


@pytest.mark.fault("kill_server")
def test_server(trial: Trial, tmp_path: Path, serve: Serve) -> None:
    """A viewer goes on at the next server with its last cursor: no gap, nothing twice."""
    written = threading.Event()
    kill_at = trial.random.randint(1, 300)
    with opened(tmp_path) as instance:

        def write() -> None:
            for number in range(400):
                instance.append("run", batch("w", number, 1))
            written.set()

        first, then = serve(tmp_path), serve(tmp_path)
        writer = threading.Thread(target=write)
        writer.start()
        got: list[int] = []
        cursor = None
        walk = by_socket(first.url, "run", protocol=TRANSPORT)
        for found in walk:
            got += [event["seq"] for event in found.events]
            cursor = found.cursor
            if len(got) >= kill_at:
                break
        first.kill()
        walk.close()  # type: ignore[attr-defined]
        delivered = len(got)
        for found in by_socket(then.url, "run", cursor, protocol=TRANSPORT):
            got += [event["seq"] for event in found.events]
            if len(got) >= 400:
                break
        writer.join()
        assert got == list(range(1, 401))
        trial.kept(delivered, len(log_of(instance)))


@pytest.mark.fault("kill_recorder")
def test_recorder(trial: Trial, program: Program, local: Instance, tmp_path: Path) -> None:
    """Its flushed events and printed lines are there, and the run is presumed dead after its timeout."""
    lines = trial.random.randint(1, 60)
    child = program.start(
        """
        import daglens.recorder as daglens
        with daglens.start_run("p", heartbeat_timeout_s=1) as run, run.step("a") as step:
            for n in range(100_000):
                step.log.info("message %d", n)
                assert run.flush()
                print("line", n, flush=True)
        """
    )
    printed = kill_between(child, lines)
    told = only_run(local)
    messages = [event.message for event in told.all("LOG_MESSAGE")]
    assert messages == [f"message {n}" for n in range(len(messages))]
    trial.kept(len(printed), len(messages))
    kept = told.log("a").splitlines(keepends=True)
    assert [line for line in kept if line.endswith("\n")][: len(printed)] == [
        f"line {n}\n" for n in range(len(printed))
    ]
    until(lambda: reap(local), "presumed failure")
    trial.saw(told.one("RUN_FAILURE").message)
    assert told.status == "FAILURE"
