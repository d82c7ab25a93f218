"""Recording from anywhere: servers that stop, are killed and start again, and a recorder that is killed itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.storage.records import ComputeIO, EventQuery, EventRecord, LogKey

ROOT = Path(__file__).parents[2]
PIPELINE = Path(__file__).with_name("remote_pipeline.py")
PATIENCE_S = 120.0


def environment(tmp_path: Path) -> dict[str, str]:
    dropped = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DAGSTER_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONPATH": str(ROOT), "DAGLENS_SPOOL": str(tmp_path / "spool")}


class Server:
    """`daglens serve` as a program, at one address; it can be stopped, killed and started again."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self._env = environment(tmp_path)
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-u", "-m", "daglens.cli", "serve", "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*command, "--instance-home", str(self.home)], env=self._env, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self._port = int(found[1])
                return
        raise AssertionError("The server ended before it answered.")

    def end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    started.start()
    yield started
    started.end(signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts Python programs of this test."""
    with ExitStack() as stack:

        def run(*args: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context(open(tmp_path / f"log{len(args)}", "ab"))
            process = subprocess.Popen([sys.executable, *args], env=environment(tmp_path), stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield run


def events_of(home: Path, run_id: str) -> list[EventRecord]:
    """All events that are stored."""
    with Instance.open(home=home) as instance:
        found: list[EventRecord] = []
        while True:
            (page,) = instance.events.read([EventQuery(run_id, after_seq=len(found), limit=1000)])
            found += page.events
            if not page.has_more:
                return found


def until(holds: Callable[[], Any], what: str) -> Any:
    give_up_at = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < give_up_at, f"never happened: {what}"
        time.sleep(0.05)
    return found


def until_stored(home: Path, count: int) -> None:
    """Wait for so many more events on the server."""
    before = len(events_of(home, "r"))
    until(lambda: len(events_of(home, "r")) >= before + count, "events on the server")


def until_waiting(tmp_path: Path) -> None:
    """Wait for some hundred more events in the spool."""

    def waiting_bytes() -> int:
        return sum(path.stat().st_size for path in (tmp_path / "spool").rglob("events-*"))

    before = waiting_bytes()
    until(lambda: waiting_bytes() > before + 100_000, "events in the spool")


def assert_whole(home: Path, run_id: str, ended: bool) -> None:
    """Every message once, in order, dense; every line of output, once, in order."""
    events = events_of(home, run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    ids = [event.event_id for event in events]
    assert len(set(ids)) == len(ids)
    numbers = [int(event.message.split()[1]) for event in events if event.event_type == "LOG_MESSAGE"]
    assert numbers == list(range(len(numbers))) and len(numbers) > 300
    with Instance.open(home=home) as instance:
        steps = [step.step_key for step in instance.events.steps([run_id], limit=10_000)[run_id]]
        assert steps == [f"part {n}" for n in range(len(steps))]
        printed = "".join(
            instance.compute_logs.read(LogKey(run_id, key), ComputeIO.STDOUT, 0, 10**8).data.decode() for key in steps
        )
        lines = [int(line.split()[1]) for line in printed.splitlines()]
        assert lines == list(range(len(lines)))
        assert abs(len(lines) - len(numbers)) <= (0 if ended else 100)
        run = instance.run(run_id)
        assert run is not None and run.status == ("SUCCESS" if ended else "STARTED")


def test_a_server_that_stops_twice(server: Server, start: Callable[..., Any], tmp_path: Path) -> None:
    """A recorder keeps on while the server is stopped, and again while it is killed; at its end the run is whole on
    the server, each event once, in order."""
    stop = tmp_path / "stop"
    pipeline = start(str(PIPELINE), server.url, "r", str(stop))
    for number in (signal.SIGTERM, signal.SIGKILL):
        until_stored(server.home, 100)
        server.end(number)
        until_waiting(tmp_path)
        server.start()
    until_stored(server.home, 1)
    stop.touch()
    assert pipeline.wait(PATIENCE_S) == 0
    assert_whole(server.home, "r", ended=True)
    assert list((tmp_path / "spool" / "runs").iterdir()) == []


def test_a_recorder_that_is_killed_during_an_outage(server: Server, start: Callable[..., Any], tmp_path: Path) -> None:
    """The server is stopped twice, and in the second outage the recorder is killed: after `daglens recorder flush` the
    run is whole up to there, each event once."""
    pipeline = start(str(PIPELINE), server.url, "r", str(tmp_path / "never"))
    for number in (signal.SIGTERM, signal.SIGKILL):
        until_stored(server.home, 100)
        server.end(number)
        until_waiting(tmp_path)
        if number == signal.SIGTERM:
            server.start()
    pipeline.send_signal(signal.SIGKILL)
    pipeline.wait()
    server.start()
    flushed = start("-m", "daglens.cli", "recorder", "flush")
    assert flushed.wait(PATIENCE_S) == 0
    assert_whole(server.home, "r", ended=False)
    assert list((tmp_path / "spool" / "runs").iterdir()) == []
