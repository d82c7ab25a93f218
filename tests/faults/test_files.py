"""Files as failing disks and power cuts leave them, and a clock that jumps back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.recorder.problems import Problems
from daglens.recorder.remote.outbox import Outbox
from daglens.storage.contract import Leases
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import ComputeIO, EventDraft, LogKey, NewRun, RunFilter, RunPosition, RunStatus
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from daglens.testing import Clock
from daglens.testing.faults import corrupt_pages, tear
from daglens.upkeep import Silences, reap
from tests.faults.conftest import Trial
from tests.faults.instances import ask, batch, log_of, opened, others_work, served
from tests.recorder.remote.conftest import gate, instance, server, spool
from tests.recorder.remote.test_spool import abandon, about, fill, send, stored
from tests.server.conftest import opened as socket_to

__all__ = ["about", "gate", "instance", "server", "spool"]

QUESTIONS = [
    "{ runsOrError { ... on RunPage { nodes { runId status tags { key value } } } } }",
    '{ runOrError(runId: "r1") { ... on Run { runId stats { materializations } tags { key value } } } }',
    *(
        f'{{ runEventsOrError(runId: "r{n}", limit: 999) {{ ... on EventPage {{ nodes {{ seq message }} }} }} }}'
        for n in range(20)
    ),
]
LOG = 'subscription { computeLog(runId: "run", stepKey: "a", ioType: STDOUT) { ... on ComputeLogChunk { data } } }'


@pytest.mark.fault("corrupt_sqlite")
def test_corrupt_sqlite(trial: Trial, tmp_path: Path) -> None:
    """Every question about a damaged file has the right answer or an error with what to do; logs, artifacts and health
    don't care."""
    with Instance.open(home=tmp_path) as instance:
        for run in range(20):
            instance.create_run(NewRun(f"r{run}", "nightly", tags=(("team", "core"),)))
            instance.append(f"r{run}", batch("w", 0, 60, 50))
        key = LogKey("r1", "a")
        instance.compute_logs.append(key, ComputeIO.STDOUT, 0, b"hello\n", complete=True)
        with served(instance) as server:
            whole = [ask(server, question)["data"] for question in QUESTIONS]
        database: Any = instance.events.database  # type: ignore[attr-defined]
        database.write(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"), transaction=False)
        path = database.path
    corrupt_pages(path, trial.random, trial.random.randint(1, 8))
    told = []
    with Instance.open(home=tmp_path) as instance, served(instance) as server:
        for question, right in zip(QUESTIONS, whole, strict=True):
            answer = ask(server, question)
            if "errors" in answer:
                told.append(answer["errors"][0])
            else:
                assert answer["data"] == right
        others_work(server)
        assert instance.compute_logs.read(key, ComputeIO.STDOUT, 0, 100).data == b"hello\n"
        assert not instance.artifacts.list("r1").artifacts
    for error in told:
        assert error["extensions"]["errorId"]
        trial.saw(error["message"])
    if not told:
        # It struck free pages or an index that nothing here needs; the sentence is that of the file.
        trial.saw(_sentence_of_all_pages(path, trial))
    trial.kept(0, 0)


def _sentence_of_all_pages(path: Path, trial: Trial) -> str:
    pages = path.stat().st_size // 4096 - 1
    corrupt_pages(path, trial.random, pages)
    database = SqliteDatabase(path)
    try:
        with pytest.raises(StorageUnavailable) as told:
            SqliteRunStorage(database).page(RunFilter())
        return str(told.value)
    finally:
        database.close()


@pytest.mark.fault("torn_log")
def test_torn_log(trial: Trial, tmp_path: Path) -> None:
    """A log cut anywhere, also within a character, and never closed: it is read to its last byte, and who follows it
    live is told the end when the run has ended."""
    text = "".join(trial.random.choice("aß€😀\n") for _ in range(trial.random.randint(1, 2000)))
    with opened(tmp_path) as instance:
        instance.append("run", [EventDraft("RUN_START"), EventDraft("STEP_START", step_key="a")])
        instance.compute_logs.append(LogKey("run", "a"), ComputeIO.STDOUT, 0, text.encode())
        (path,) = tmp_path.rglob("a.out")
        left = tear(path, trial.random)
        with served(instance) as server, socket_to(server) as socket:
            socket.start(LOG)
            got, read = "", socket.result()
            instance.append("run", [EventDraft("RUN_FAILURE")])
            for payload in [read, *socket.results()]:
                got += payload["data"]["computeLog"]["data"]
        assert got.rstrip("\N{REPLACEMENT CHARACTER}") == left.decode(errors="ignore")
        trial.kept(len(left), len(instance.compute_logs.read(LogKey("run", "a"), ComputeIO.STDOUT, 0, 10**6).data))


@pytest.mark.fault("torn_spool")
def test_torn_spool(trial: Trial, instance: Instance, spool: Any, about: Any) -> None:
    """What a spool holds before the tear is sent, once and in order."""
    count = trial.random.randint(1, 40)
    box = Outbox(spool, about, Problems())
    fill(box, count)
    left = tear(box.files.segment(1), trial.random)
    abandon(box)
    box.close()
    assert send(spool) == [None]
    whole = left.count(b"\n")
    assert stored(instance) == [f"m{n}" for n in range(whole)]
    trial.kept(whole, len(stored(instance)))


@pytest.mark.fault("clock_back")
def test_clock_back(trial: Trial, tmp_path: Path) -> None:
    """Order, cursors, feeds, leases and presumed failures, with a storage's clock that jumps back twice."""
    clock, steady = Clock(), [0.0]
    jumps = [trial.random.random() for _ in range(2)]
    with opened(tmp_path) as opened_by_today:
        database: Any = opened_by_today.events.database  # type: ignore[attr-defined]
        instance = replace(
            opened_by_today,
            runs=SqliteRunStorage(database, clock=clock),
            events=SqliteEventLogStorage(database, clock=clock),
        )
        instance.create_run(NewRun("silent", "nightly"))
        instance.append("silent", [EventDraft("RUN_START")])
        instance.heartbeat("silent", 60)
        silences = Silences(lambda: steady[0])
        leases = instance.runs
        assert isinstance(leases, Leases)
        with served(instance, upkeep_s=3600.0) as server, socket_to(server) as socket:
            socket.start('subscription { runEvents(runId: "run") { ... on RunEventsBatch { events { seq } } } }')
            got: list[int] = []
            for n, jump in enumerate([0.0, *jumps]):
                clock.advance_days(-jump)
                instance.append("run", batch("w", n * 10, 10))
                while len(got) < (n + 1) * 10:
                    got += [event["seq"] for event in socket.result()["data"]["runEvents"]["events"]]
                instance.create_run(NewRun(f"made {n}", "nightly"))
                assert leases.lease("retention", "one", 60)
                assert not leases.lease("retention", "other", 60)
                assert (reap(instance, silences=silences) == ["silent"]) is (n == 2)
                steady[0] += 40
        assert got == list(range(1, 31))
        trial.kept(30, len(log_of(instance)))
        walked, after = [], None
        while page := instance.runs.page(RunFilter(), after=after, limit=1).runs:
            after = RunPosition(page[0].created_at_us, page[0].run_id)
            walked.append(page[0].run_id)
        assert sorted(walked) == ["made 0", "made 1", "made 2", "run", "silent"]
        silent = instance.run("silent")
        assert silent is not None and silent.status is RunStatus.FAILURE
        trial.saw(log_of(instance, "silent")[-1].message)
