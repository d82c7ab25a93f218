"""An instance with a few runs, and the command run in it as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, LogKey, LogLevel, NewRun


@dataclass(frozen=True)
class Answer:
    """What the command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """The JSON objects of its lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """`daglens` as a program of its own on one instance."""

    def __init__(self, home: Path) -> None:
        self.home = home
        dropped = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
        self.env = {k: v for k, v in os.environ.items() if k not in dropped} | {"DAGSTER_HOME": str(home), "TZ": "UTC"}

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start it; the caller waits."""
        command = [sys.executable, "-m", "daglens", *args]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.env, text=True, **(streams | options))

    def __call__(self, *args: str) -> Answer:
        """Run it to its end."""
        program = self.start(*args)
        out, err = program.communicate(timeout=120)
        return Answer(program.returncode, out, err)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command on an empty instance."""
    return Command(tmp_path / "home")


SECOND = 1_000_000
START = 1_790_000_000 * SECOND
FAILURE = {
    "error": {
        "className": "ValueError",
        "message": "no orders",
        "stack": ["  File a.py, line 3\n"],
        "cause": {"className": "OSError", "message": "disk \x1b[31mgone", "stack": []},
    }
}


def record(
    instance: Instance, run_id: str, end: str | None, *, created: int = START, pipeline: str = "nightly"
) -> None:
    """A run of two steps, the second of which fails with a cause."""
    instance.create_run(NewRun(run_id, pipeline, tags=(("team", "core"), ("run", run_id)), created_at_us=created))
    at = iter(range(created, created + 100 * SECOND, SECOND))
    kinds: list[tuple[str, str | None, dict[str, Any]]] = [
        (et.RUN_START, None, {"pipelineName": pipeline}),
        (et.STEP_START, "extract", {"attempt": 1}),
        (et.STEP_MATERIALIZATION, "extract", {"label": "orders", "metadataEntries": []}),
        (et.STEP_SUCCESS, "extract", {}),
        (et.STEP_START, "load", {"attempt": 1}),
        (et.STEP_FAILURE, "load", FAILURE),
    ]
    if end:
        kinds.append((end, None, FAILURE if end == et.RUN_FAILURE else {}))
    instance.append(
        run_id,
        [
            EventDraft(
                kind, step, LogLevel.ERROR if "FAIL" in kind else LogLevel.INFO, f"{kind} happened", next(at), data=data
            )
            for kind, step, data in kinds
        ],
    )
    logs = instance.compute_logs
    logs.append(LogKey(run_id, "extract"), ComputeIO.STDOUT, 0, b"read 5 rows\n\xff", complete=True)
    logs.append(LogKey(run_id, "extract"), ComputeIO.STDERR, 0, b"warned\n", complete=True)


@pytest.fixture
def filled(command: Command) -> Command:
    """The command on an instance with three runs: `good`, `bad`, and `open`, which has not ended."""
    with Instance.open(home=command.home) as instance:
        record(instance, "good", et.RUN_SUCCESS)
        record(instance, "bad", et.RUN_FAILURE, created=START + 10 * SECOND, pipeline="hourly")
        record(instance, "open", None, created=START + 20 * SECOND)
    return command
