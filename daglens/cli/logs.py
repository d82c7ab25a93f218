"""`daglens logs`: what a step printed."""

from __future__ import annotations

import sys
import threading
from typing import Annotated

import typer

from daglens.cli.options import InstanceHome, Json, RunId, find_run, open_instance
from daglens.instance import Instance
from daglens.storage import missing_logs
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import ComputeIO, LogFile, LogKey, LogUnavailableReason

_CHUNK_BYTES = 1_048_576
_POLL_S = 0.25
_MISSING_POLL_S = 1.0
"""While there is no log, whose events are asked each time why."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    run: RunId,
    step: Annotated[
        str | None, typer.Argument(metavar="[STEP]", help="Step key; without it the logs are listed.")
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error instead of standard output.")] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Attempt; the latest when absent.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the step has closed the log.")] = False,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Print a step's output byte for byte, or, without a step, list the logs of a run."""
    with open_instance(instance_home) as instance:
        run_id = find_run(instance, run).run_id
        files = list(instance.compute_logs.list([run_id]).get(run_id, ()))
        if step is None:
            _print_list(files, json)
            return
        if json:
            raise typer.BadParameter("--json goes with the list of logs; a log itself is printed as it is.")
        io = ComputeIO.STDERR if stderr else ComputeIO.STDOUT
        latest = max((f.key.attempt for f in files if f.key.step_key == step), default=1)
        key = LogKey(run_id, step, attempt or latest)
        if follow:
            _follow(instance, key, io)
        else:
            _copy(instance, key, io, 0)


def _print_list(files: list[LogFile], as_json: bool) -> None:
    from daglens.cli.output import console, plain, print_json, size

    if as_json:
        for f in files:
            print_json(
                {
                    "stepKey": f.key.step_key,
                    "attempt": f.key.attempt,
                    "ioType": f.io.name,
                    "sizeBytes": f.size_bytes,
                    "complete": f.complete,
                    "truncated": f.truncated,
                    "path": f.location,
                }
            )
        return
    if not files:
        console(err=True).print("This run has no compute logs.")
        return
    from rich.table import Table

    table = Table("step", "attempt", "stream", "size", "state", box=None, pad_edge=False)
    for f in files:
        state = ("complete" if f.complete else "open") + (", truncated" if f.truncated else "")
        table.add_row(plain(f.key.step_key), str(f.key.attempt), f.io.value, size(f.size_bytes), state)
    console().print(table)


def _copy(instance: Instance, key: LogKey, io: ComputeIO, start: int) -> tuple[int, bool]:
    """Print from `start` to the present end; where that is, and whether the log is complete."""
    while True:
        try:
            part = instance.compute_logs.read(key, io, start, _CHUNK_BYTES)
        except LogUnavailable as error:
            told = missing_logs.explained(instance.events, instance.compute_logs, key, error)
            raise (
                _not_captured(key) if told is error and error.reason == LogUnavailableReason.NOT_CAPTURED else told
            ) from error
        sys.stdout.buffer.write(part.data)
        start += len(part.data)
        if start >= part.size_bytes or not part.data:
            sys.stdout.buffer.flush()
            return start, part.complete


def _not_captured(key: LogKey) -> LogUnavailable:
    return LogUnavailable(
        LogUnavailableReason.NOT_CAPTURED,
        f"Attempt {key.attempt} of a step {key.step_key!r} wasn't captured in this run. "
        f"`daglens logs {key.run_id}` lists what was.",
    )


def _follow(instance: Instance, key: LogKey, io: ComputeIO) -> None:
    start, complete, quiet = 0, False, threading.Event()
    poll_s = max(_POLL_S, getattr(instance.compute_logs, "least_poll_s", 0.0))
    while not complete:
        run = instance.run(key.run_id)
        ended, pause_s = run is None or run.status.is_final, poll_s
        try:
            start, complete = _copy(instance, key, io, start)
        except LogUnavailable as error:
            if ended or error.reason not in missing_logs.WAITED_FOR:
                raise
            pause_s = max(_MISSING_POLL_S, poll_s)
        if ended:
            return
        quiet.wait(pause_s)
