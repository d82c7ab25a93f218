"""What failed in a run and why, and the last lines of what its failed steps printed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage import missing_logs
from daglens.storage.errors import DaglensError, LogUnavailable
from daglens.storage.records import (
    PROCESS_STEP_KEY,
    ComputeIO,
    EventCounts,
    EventFilter,
    EventQuery,
    EventRecord,
    EventsOrder,
    LogFile,
    LogKey,
    RunRecord,
    RunStatus,
    StepState,
)

MAX_STEPS = 5
"""Whose output is shown; of failed steps, the first tell why."""
_MAX_STEP_FAILURES = 20
_MAX_EXPECTATIONS = 10
_PAGE = 200
_END_BYTES = 65_536
_MAX_LINE_CHARS = 2_000
# Colours and cursor movements, as terminals read them.
_TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed.

    Attributes:
        events: In order: failed expectations and steps, then the failure of the run. Of very many, the first ones.
        more_steps, more_expectations: How many failures of either kind there are beyond them.
    """

    events: list[EventRecord]
    more_steps: int = 0
    more_expectations: int = 0


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The last lines of one stream of a step; `problem` says why they can't be read.

    Attributes:
        size_bytes: Of the whole stream.
        is_whole: The lines are all there is.
    """

    key: LogKey
    io: ComputeIO
    size_bytes: int = 0
    lines: tuple[str, ...] = ()
    is_whole: bool = True
    problem: str | None = None


def step_status(step: StepState, run: RunRecord) -> str:
    """The step's status; ABANDONED when the run ended before it did."""
    return "ABANDONED" if run.status.is_final and not step.status.is_final else str(step.status)


def failed_steps(run: RunRecord, steps: list[StepState]) -> list[StepState]:
    """Those that failed, or that the run's end has cut off."""
    return [step for step in steps if step_status(step, run) in ("FAILURE", "ABANDONED")]


def find_failures(instance: Instance, run: RunRecord, counts: EventCounts) -> Failures:
    """What the run's log tells of failures. Expectations are looked through only where one has failed."""
    most = min(_MAX_EXPECTATIONS, counts.expectations_failed)
    expectations = _some(instance, run, et.STEP_EXPECTATION_RESULT, most, _has_failed)
    steps = _some(instance, run, et.STEP_FAILURE, _MAX_STEP_FAILURES)
    # The newest: the recorder's own end stands behind one that was presumed.
    of_run = _newest(instance, run, et.RUN_FAILURE) if run.status is RunStatus.FAILURE else []
    return Failures(
        sorted(expectations + steps, key=lambda event: event.seq) + of_run,
        more_steps=max(0, counts.steps_failed - len({event.step_key for event in steps})),
        more_expectations=max(0, counts.expectations_failed - len(expectations)),
    )


def repeats(event: EventRecord, told: list[EventRecord]) -> bool:
    """Whether the event's error, a run's, is the one of a step that is among those told already."""
    error = _error(event)
    return error is not None and any(_error(other) == error for other in told if other is not event)


def log_ends(instance: Instance, run: RunRecord, steps: list[StepState], most_lines: int) -> list[LogEnd]:
    """The last lines of stdout and stderr of the latest attempt of each of these steps. Empty streams are left out.

    What can't be read is told in its place: that a bucket doesn't answer must not hide what failed.
    """
    if not steps or most_lines < 1:
        return []
    first = LogKey(run.run_id, steps[0].step_key, max(1, steps[0].attempts))
    try:
        files = instance.compute_logs.list([run.run_id]).get(run.run_id, ())
    except DaglensError as error:
        return [LogEnd(first, ComputeIO.STDERR, problem=str(error))]
    ends: list[LogEnd] = []
    for step in steps:
        latest = max((f.key.attempt for f in files if f.key.step_key == step.step_key), default=0)
        mine = [f for f in files if f.key.step_key == step.step_key and f.key.attempt == latest]
        if mine:
            ends += [_end(instance, file, most_lines) for file in mine if file.size_bytes]
        elif problem := _why_missing(instance, LogKey(run.run_id, step.step_key, max(1, step.attempts))):
            ends.append(problem)
    shared = [f for f in files if f.key.step_key == PROCESS_STEP_KEY and f.size_bytes]
    return ends + [_end(instance, file, most_lines) for file in shared]


def failures_json(failures: Failures, ends: list[LogEnd]) -> dict[str, Any]:
    """Both, with field names as GraphQL would have them."""
    from daglens.cli.output import event_json

    return {
        "failures": [event_json(event) for event in failures.events],
        "logEnds": [
            {
                "stepKey": end.key.step_key,
                "attempt": end.key.attempt,
                "ioType": end.io.name,
                "sizeBytes": end.size_bytes,
                "lines": list(end.lines),
                "problem": end.problem,
            }
            for end in ends
        ],
    }


def _has_failed(event: EventRecord) -> bool:
    return json.loads(event.data).get("success") is False


def _error(event: EventRecord) -> tuple[Any, Any] | None:
    error = json.loads(event.data).get("error")
    return (error.get("className"), error.get("message")) if isinstance(error, dict) else None


def _some(
    instance: Instance, run: RunRecord, event_type: str, most: int, wanted: Any = lambda event: True
) -> list[EventRecord]:
    found: list[EventRecord] = []
    after: int | None = 0
    while len(found) < most:
        part = instance.events.read([EventQuery(run.run_id, after, _PAGE, EventFilter(event_types=[event_type]))])[0]
        found.extend(event for event in part.events if wanted(event))
        after = part.through_seq
        if not part.has_more:
            break
    return found[:most]


def _newest(instance: Instance, run: RunRecord, event_type: str) -> list[EventRecord]:
    before: int | None = None
    while True:
        query = EventQuery(run.run_id, before, 1, EventFilter(event_types=[event_type]), EventsOrder.NEWEST_FIRST)
        part = instance.events.read([query])[0]
        if part.events or not part.has_more:
            return list(part.events)
        before = part.through_seq


def _why_missing(instance: Instance, key: LogKey) -> LogEnd | None:
    try:
        instance.compute_logs.read(key, ComputeIO.STDERR, 0, 1)
    except LogUnavailable as error:
        told = missing_logs.explained(instance.events, instance.compute_logs, key, error)
        return LogEnd(key, ComputeIO.STDERR, problem=str(told))
    except DaglensError as error:
        return LogEnd(key, ComputeIO.STDERR, problem=str(error))
    return None


def _end(instance: Instance, file: LogFile, most_lines: int) -> LogEnd:
    from daglens.resolvers.log_text import decode_chunk, tail_read_start, tail_start

    start = tail_read_start(file.size_bytes, _END_BYTES)
    try:
        data = instance.compute_logs.read(file.key, file.io, start, file.size_bytes - start).data
    except DaglensError as error:
        return LogEnd(file.key, file.io, file.size_bytes, problem=str(error))
    begin = tail_start(data, start, _END_BYTES)
    lines = decode_chunk(data[begin:], True).text.rstrip("\n").split("\n")
    is_whole = start + begin == 0 and len(lines) <= most_lines
    return LogEnd(file.key, file.io, file.size_bytes, tuple(map(_as_shown, lines[-most_lines:])), is_whole)


def _as_shown(line: str) -> str:
    """A line as a terminal would have left it: of a progress bar its last state, and no colours."""
    line = _TERMINAL_SEQUENCE.sub("", line).rstrip("\r").rpartition("\r")[2].expandtabs()
    return line if len(line) <= _MAX_LINE_CHARS else f"{line[:_MAX_LINE_CHARS]} …"
