"""What `daglens runs show` tells of a run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from daglens.cli.failures import (
    MAX_STEPS,
    failed_steps,
    failures_json,
    find_failures,
    log_ends,
    repeats,
    step_status,
)
from daglens.cli.output import (
    console,
    counted,
    duration,
    error_lines,
    local_time,
    plain,
    plain_lines,
    rfc3339,
    run_json,
    run_seconds,
    size,
    stats_json,
    status_text,
)
from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import EventCounts, Head, RunRecord, StepState


def run_details(instance: Instance, run: RunRecord, log_lines: int) -> dict[str, Any]:
    """The run with its steps, failures, logs and artifacts as one JSON object, with the field names of GraphQL."""
    head = instance.events.heads([run.run_id]).get(run.run_id)
    steps = _steps(instance, run)
    failures = find_failures(instance, run, _counts(head))
    ends = log_ends(instance, run, failed_steps(run, steps)[:MAX_STEPS], log_lines)
    return {
        **run_json(run),
        "stats": stats_json(run, head),
        "stepStats": [
            {
                "stepKey": s.step_key,
                "status": step_status(s, run),
                "attempts": s.attempts,
                "startedAt": rfc3339(s.started_at_us),
                "endedAt": rfc3339(s.ended_at_us),
                "materializations": s.materializations,
                "expectations": s.expectations,
            }
            for s in steps
        ],
        **failures_json(failures, ends),
        "computeLogs": [
            {"stepKey": f.key.step_key, "attempt": f.key.attempt, "ioType": f.io.name, "sizeBytes": f.size_bytes}
            for f in instance.compute_logs.list([run.run_id]).get(run.run_id, ())
        ],
        "artifacts": [
            {"path": a.path, "sizeBytes": a.size_bytes}
            for a in instance.artifacts.list(run.run_id, limit=1000).artifacts
        ],
    }


def _steps(instance: Instance, run: RunRecord) -> list[StepState]:
    return list(instance.events.steps([run.run_id]).get(run.run_id, ()))


def print_run(instance: Instance, run: RunRecord, log_lines: int) -> None:
    """Print the run for a person: head, steps, artifacts, and, where one looks first in the end, what failed."""
    now = instance.runs.now_us()
    steps = _steps(instance, run)
    _print_facts(run, now)
    _print_steps(run, steps, now)
    _print_artifacts(instance, run)
    _print_failures(instance, run)
    _print_log_ends(instance, run, failed_steps(run, steps), log_lines)


def _print_facts(run: RunRecord, now: int) -> None:
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_row("run", plain(run.run_id))
    facts.add_row("pipeline", plain(run.pipeline_name))
    status = status_text(run.status)
    facts.add_row("status", status + Text(" (presumed: the recorder fell silent)") if run.presumed else status)
    by = "" if run.created_by is None else f" by {run.created_by}"
    facts.add_row("created", plain(local_time(run.created_at_us) + by))
    if run.started_at_us is not None:
        facts.add_row("started", f"{local_time(run.started_at_us)}, took {duration(run_seconds(run, now))}")
    for key, value in run.tags:
        facts.add_row("tag", plain(f"{key}={value}"))
    if run.run_config not in ("{}", "null"):
        facts.add_row("config", plain_lines(run.run_config))
    console().print(facts)


def _print_steps(run: RunRecord, steps: list[StepState], now: int) -> None:
    if not steps:
        return
    from rich.table import Table

    table = Table("step", "status", "attempts", "took", "materializations", "expectations", box=None, pad_edge=False)
    for step in steps:
        table.add_row(
            plain(step.step_key),
            status_text(step_status(step, run)),
            str(step.attempts),
            duration(_step_seconds(step, run, now)),
            str(step.materializations),
            str(step.expectations),
        )
    out = console()
    out.print()
    out.print(table)


def _print_artifacts(instance: Instance, run: RunRecord) -> None:
    from rich.text import Text

    page = instance.artifacts.list(run.run_id, limit=50)
    if not page.artifacts:
        return
    out = console()
    out.print()
    for artifact in page.artifacts:
        out.print(Text(f"artifact {plain(artifact.path)} ({size(artifact.size_bytes)})"))
    out.print(Text(f"in {instance.artifacts.folder(run.run_id)}", style="dim"))
    if page.has_more:
        out.print(Text("… and more", style="dim"))


def _print_failures(instance: Instance, run: RunRecord) -> None:
    from rich.text import Text

    out = console()
    failures = find_failures(instance, run, _counts(instance.events.heads([run.run_id]).get(run.run_id)))
    for event in failures.events:
        out.print()
        where = f"{event.event_type} {event.step_key or ''}".strip()
        out.print(Text(f"{plain(where)}: {plain_lines(event.message, '  ')}", style="red"))
        if event.event_type == et.RUN_FAILURE and repeats(event, failures.events):
            continue
        lines = error_lines(json.loads(event.data).get("error"))
        if len(lines) == 1 and plain(event.message).endswith(lines[0]):
            continue  # an error of one line, which the message ends with already
        for line in lines:
            out.print(Text(f"  {line}"))
    for count, what, event_type in (
        (failures.more_steps, "failed step", et.STEP_FAILURE),
        (failures.more_expectations, "failed expectation", et.STEP_EXPECTATION_RESULT),
    ):
        if count:
            command = _command("events", run.run_id, options=("--type", event_type))
            out.print()
            out.print(Text(f"… and {counted(count, what)} more: {command}", style="red"))


def _print_log_ends(instance: Instance, run: RunRecord, failed: list[StepState], log_lines: int) -> None:
    from rich.text import Text

    out = console()
    ends = log_ends(instance, run, failed[:MAX_STEPS], log_lines)
    for end in ends:
        out.print()
        attempt = f", attempt {end.key.attempt}" if end.key.attempt > 1 else ""
        title = f"{plain(end.key.step_key)} {end.io.value}{attempt}"
        if end.problem is not None:
            out.print(Text(f"{title}: {plain_lines(end.problem, '  ')}", style="yellow"))
            continue
        part = size(end.size_bytes) if end.is_whole else f"the end of {size(end.size_bytes)}"
        out.print(Text(f"{title}, {part}:", style="bold"))
        for line in end.lines:
            out.print(Text(f"  {plain(line)}"))
    if failed:
        out.print()
    for step in failed[:MAX_STEPS]:
        command = _command("logs", run.run_id, step.step_key)
        out.print(Text(f"what {plain(step.step_key)} printed: {command}, and with --stderr", style="dim"))
    if len(failed) > MAX_STEPS:
        more = counted(len(failed) - MAX_STEPS, "more step")
        out.print(Text(f"what {more} printed: {_command('logs', run.run_id)} lists it", style="dim"))


def _command(command: str, *names: str, options: Sequence[str] = ()) -> str:
    """A command to be pasted into a shell: names are others' choice."""
    ends_options = ["--"] if any(name.startswith("-") for name in names) else []
    return plain(shlex.join(["daglens", command, *options, *ends_options, *names]))


def _counts(head: Head | None) -> EventCounts:
    return EventCounts() if head is None or head.deleted else head.counts


def _step_seconds(step: StepState, run: RunRecord, now_us: int) -> float | None:
    if step.started_at_us is None:
        return None
    end = step.ended_at_us
    if end is None:
        end = run.ended_at_us if run.status.is_final and run.ended_at_us is not None else now_us
    return max(0, end - step.started_at_us) / 1_000_000
