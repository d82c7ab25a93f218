"""How the command shows things: tables and colours for a terminal, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from daglens.storage.records import EventCounts, EventRecord, Head, LogLevel, RunRecord, RunStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STATUS_STYLES = {
    "SUCCESS": "green",
    "FAILURE": "bold red",
    "ABANDONED": "red",
    "CANCELED": "yellow",
    "CANCELING": "yellow",
    "STARTED": "cyan",
    "STARTING": "cyan",
    "IN_PROGRESS": "cyan",
    "UP_FOR_RETRY": "magenta",
    "SKIPPED": "dim",
}
# Of the years 1 to 9999, as the API gives them; a storage takes any number of a writer's.
_FIRST_US = -62_135_596_800_000_000
_LAST_US = 253_402_300_799_999_999
_DAY_US = 86_400_000_000
_BELOW = " " * 7
_LEVEL_STYLES = {10: "dim", 20: "", 30: "yellow", 40: "red", 50: "bold red"}


def console(*, err: bool = False) -> Console:
    """A console that wraps nothing when its output is no terminal, so that pipes get whole lines.

    It takes texts as they are: a run may well be called `[/b]`, or `:smile:`.
    """
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    is_terminal = stream.isatty()
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not is_terminal,
        width=None if is_terminal else 200,
    )


def status_text(status: str) -> Text:
    """A status in its colour."""
    from rich.text import Text

    return Text(status, style=STATUS_STYLES.get(status, ""))


def counted(count: int, what: str) -> str:
    """A number of things: `1 run`, `2 runs`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """Text of a pipeline as one line without control characters, so that it can neither steer the terminal nor look
    like a line of its own."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def plain_lines(text: str, indent: str = "") -> str:
    """`plain` for what may have several lines: all but the first begin with `indent`."""
    return f"\n{indent}".join(map(plain, text.split("\n")))


def rfc3339(us: int | None) -> str | None:
    """Microseconds as RFC 3339 in UTC, e.g. 2026-11-22T09:30:00.123456Z; None stays None."""
    if us is None:
        return None
    us = min(max(us, _FIRST_US), _LAST_US)
    at = datetime.fromtimestamp(us // 1_000_000, UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", f".{us % 1_000_000:06d}Z")


def local_time(us: int | None) -> str:
    """Microseconds as a local date and time to the second; empty for None."""
    return "" if us is None else _local(us).replace(tzinfo=None).isoformat(" ")


def _local(us: int) -> datetime:
    """To the second."""
    # A day from either end: no time zone's calendar ends before.
    within = min(max(us, _FIRST_US + _DAY_US), _LAST_US - _DAY_US)
    return datetime.fromtimestamp(within // 1_000_000, UTC).astimezone()


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 0.4s, 12s, 3m 05s, 2h 07m; empty for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def size(count: int) -> str:
    """Bytes as people read them, in powers of 1024."""
    if count < 1024:
        return f"{count} B"
    power = min(4, (count.bit_length() - 1) // 10)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def run_seconds(run: RunRecord, now_us: int) -> float | None:
    """Seconds from start to end, or to now while running; None before the start."""
    if run.started_at_us is None:
        return None
    return max(0, (run.ended_at_us if run.ended_at_us is not None else now_us) - run.started_at_us) / 1_000_000


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line of stdout, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def run_json(run: RunRecord) -> dict[str, Any]:
    """A run with the field names of GraphQL."""
    return {
        "runId": run.run_id,
        "pipelineName": run.pipeline_name,
        "status": str(run.status),
        "tags": dict(run.tags),
        "runConfig": json.loads(run.run_config),
        "createdBy": run.created_by,
        "parentRunId": run.parent_run_id,
        "rootRunId": run.root_run_id,
        "createdAt": rfc3339(run.created_at_us),
        "startedAt": rfc3339(run.started_at_us),
        "endedAt": rfc3339(run.ended_at_us),
        "presumed": run.presumed and run.status is RunStatus.FAILURE,
    }


def stats_json(run: RunRecord, head: Head | None) -> dict[str, int]:
    """The counts of a run's log, with the field names of GraphQL's RunStats; all 0 without a log."""
    is_there = head is not None and not head.deleted
    counts = head.counts if head is not None and is_there else EventCounts()
    return {
        "stepsInProgress": 0 if run.status.is_final else counts.steps_in_progress,
        "stepsSucceeded": counts.steps_succeeded,
        "stepsFailed": counts.steps_failed,
        "stepsSkipped": counts.steps_skipped,
        "materializations": counts.materializations,
        "expectations": counts.expectations,
        "expectationsFailed": counts.expectations_failed,
        "events": head.last_seq if head is not None and is_there else 0,
    }


def event_json(event: EventRecord) -> dict[str, Any]:
    """An event with the field names of GraphQL; what its type has beyond them is in `data`."""
    return {
        "runId": event.run_id,
        "seq": event.seq,
        "timestamp": rfc3339(event.timestamp_us),
        "level": _level_name(event.level),
        "message": event.message,
        "eventType": event.event_type,
        "stepKey": event.step_key,
        "data": json.loads(event.data),
    }


def _level_name(level: int) -> str:
    try:
        return LogLevel(level).name
    except ValueError:
        return str(level)


def day_line(event: EventRecord) -> Text:
    """The day of an event, above its time."""
    from rich.text import Text

    return Text(f"{_BELOW}{_local(event.timestamp_us).date().isoformat()}", style="dim")


def event_line(event: EventRecord) -> Text:
    """An event as one line (more when its message has more), with the error it carries below it."""
    from rich.text import Text

    time = f"{_local(event.timestamp_us):%H:%M:%S}"
    millis = event.timestamp_us // 1000 % 1000
    line = Text()
    line.append(f"{event.seq:>6} {time}.{millis:03d} ", style="dim")
    style = STATUS_STYLES.get(event.event_type.partition("_")[2], _LEVEL_STYLES.get(event.level, ""))
    line.append(f"{plain(event.event_type):<24}", style=style)
    line.append(f" {plain(event.step_key) if event.step_key else '':<16} ", style="cyan")
    line.append(plain_lines(event.message, _BELOW), style=_LEVEL_STYLES.get(event.level, ""))
    error = json.loads(event.data).get("error") if '"error"' in event.data else None
    for text in error_lines(error):
        line.append(f"\n{_BELOW}{text}", style="red")
    return line


def error_lines(error: Any) -> list[str]:
    """An error of an event with its causes, innermost last, as lines; none when there is no error."""
    lines: list[str] = []
    while isinstance(error, Mapping):
        name, message = error.get("className"), error.get("message") or ""
        head = f"{name}: {message}" if name else str(message)
        lines.extend(plain_lines(("caused by " if lines else "") + head).split("\n"))
        stack = error.get("stack")
        if isinstance(stack, list):
            lines.extend(f"  {part}" for frame in stack for part in plain_lines(str(frame).rstrip()).split("\n"))
        error = error.get("cause")
    return lines
