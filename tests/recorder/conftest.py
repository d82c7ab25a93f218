"""Instances to record into, and programs that record in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.storage.records import ComputeIO, EventQuery, EventRecord, Head, LogKey, RunFilter

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 60.0


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a child gets: our package, its instance, and none of the variables that would hide a lost buffer."""
    dropped = ("PYTHON", "PYTEST", "COV", "DAGLENS", "DAGSTER", "XDG")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    # Since 3.12 Python warns of any fork in a process with threads, and a recorder has threads.
    warnings = "ignore:This process:DeprecationWarning"
    return kept | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": warnings, "DAGSTER_HOME": str(home)} | more


@dataclass
class Told:
    """What an instance knows of one run."""

    instance: Instance
    run_id: str

    @property
    def events(self) -> list[EventRecord]:
        """All events, in order."""
        return list(self.instance.events.read([EventQuery(self.run_id, limit=10_000)])[0].events)

    @property
    def types(self) -> list[str]:
        """Types of all events, LOGS_CAPTURED left out."""
        return [event.event_type for event in self.events if event.event_type != "LOGS_CAPTURED"]

    def one(self, event_type: str, step_key: str | None = None) -> EventRecord:
        """The only event of this type (and step)."""
        found = self.all(event_type, step_key)
        assert len(found) == 1, f"{len(found)} events {event_type} of {step_key}: {self.types}"
        return found[0]

    def all(self, event_type: str, step_key: str | None = None) -> list[EventRecord]:
        """The events of this type (and step)."""
        return [e for e in self.events if e.event_type == event_type and step_key in (None, e.step_key)]

    def data(self, event_type: str, step_key: str | None = None) -> Any:
        """Data of the only event of this type."""
        return json.loads(self.one(event_type, step_key).data)

    @property
    def head(self) -> Head:
        """Head of the log."""
        return self.instance.events.heads([self.run_id])[self.run_id]

    @property
    def status(self) -> str:
        """Of the run."""
        run = self.instance.run(self.run_id)
        assert run is not None
        return str(run.status)

    def log(self, step_key: str, io: ComputeIO = ComputeIO.STDOUT, attempt: int = 1) -> str:
        """Text of a compute log."""
        return self.instance.compute_logs.read(LogKey(self.run_id, step_key, attempt), io, 0, 10**8).data.decode()

    def err(self, step_key: str, attempt: int = 1) -> str:
        """Text of a stderr."""
        return self.log(step_key, ComputeIO.STDERR, attempt)

    def complete(self) -> dict[tuple[str, int, str], bool]:
        """Whether each log is complete."""
        files = self.instance.compute_logs.list([self.run_id]).get(self.run_id, ())
        return {(file.key.step_key, file.key.attempt, file.io.value): file.complete for file in files}

    def step_status(self, step_key: str) -> str:
        """Of one step."""
        return str(self.instance.events.steps([self.run_id], [step_key])[self.run_id][0].status)


@pytest.fixture(params=["memory", "sqlite"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    """An empty instance: in memory, or in a folder."""
    opened = Instance.ephemeral() if request.param == "memory" else Instance.open(home=tmp_path / "home")
    with opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Folder of an instance that programs of the test record into."""
    return tmp_path / "home"


@pytest.fixture
def local(home: Path) -> Iterator[Instance]:
    """The instance in `home`."""
    with Instance.open(home=home) as opened:
        yield opened


def runs_of(instance: Instance) -> list[Told]:
    """All runs of an instance, oldest first."""
    return [Told(instance, run.run_id) for run in instance.runs.page(RunFilter(), newest_first=False, limit=100).runs]


def only_run(instance: Instance) -> Told:
    """The only run of an instance."""
    found = runs_of(instance)
    assert len(found) == 1, f"{len(found)} runs"
    return found[0]


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait for something to become true; what it gave."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < give_up_at, f"never happened: {what}"
        time.sleep(0.01)
    return found


class Program:
    """A Python program that records, in a process of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._home = home
        self._started: list[subprocess.Popen[str]] = []

    def start(self, source: str, *args: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Start it. Its line `print("ready", flush=True)` can be waited for by `wait_for`."""
        path = self._folder / "program.py"
        path.write_text(textwrap.dedent(source))
        return self.command([sys.executable, str(path), *args], env=env, **options)

    def daglens(self, *args: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Start the `daglens` command."""
        return self.command([sys.executable, "-m", "daglens.cli", *args], env=env, **options)

    def command(self, argv: list[str], env: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Start any command."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        child = subprocess.Popen(argv, env=environment(self._home, **(env or {})), text=True, **pipes)
        self._started.append(child)
        return child

    def run(self, source: str, *args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return finished(self.start(source, *args, env=env))

    def run_daglens(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the `daglens` command to its end."""
        return finished(self.daglens(*args, env=env))

    def end_all(self) -> None:
        """End what is still running."""
        for child in self._started:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()


def finished(child: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a program."""
    out, err = child.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


@pytest.fixture
def program(tmp_path: Path, home: Path) -> Iterator[Program]:
    """Makes programs."""
    made = Program(tmp_path, home)
    yield made
    made.end_all()
