"""What `daglens runs show` tells of a run."""

from __future__ import annotations

import json
import shlex
from typing import Any

from daglens.cli.output import (
    console,
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
from daglens.storage.records import EventFilter, EventQuery, EventRecord, RunRecord, StepState

_FAILURES = EventFilter(event_types=[et.STEP_FAILURE, et.RUN_FAILURE, et.STEP_EXPECTATION_RESULT])
_MAX_FAILURES = 20
_MAX_HINTS = 5


def run_details(instance: Instance, run: RunRecord) -> dict[str, Any]:
    """The run with its steps, logs and artifacts as one JSON object, with the field names of GraphQL."""
    return {
        **run_json(run),
        "stats": stats_json(run, instance.events.heads([run.run_id]).get(run.run_id)),
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
            for s in _steps(instance, run)
        ],
        "computeLogs": [
            {"stepKey": f.key.step_key, "attempt": f.key.attempt, "ioType": f.io.name, "sizeBytes": f.size_bytes}
            for f in instance.compute_logs.list([run.run_id]).get(run.run_id, ())
        ],
        "artifacts": [
            {"path": a.path, "sizeBytes": a.size_bytes}
            for a in instance.artifacts.list(run.run_id, limit=1000).artifacts
        ],
    }


def step_status(step: StepState, run: RunRecord) -> str:
    """The step's status; ABANDONED when the run ended before it did."""
    return "ABANDONED" if run.status.is_final and not step.status.is_final else str(step.status)


def _steps(instance: Instance, run: RunRecord) -> list[StepState]:
    return list(instance.events.steps([run.run_id]).get(run.run_id, ()))


def print_run(instance: Instance, run: RunRecord) -> None:
    """Print the run for a person: head, steps, what failed, artifacts."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    now = instance.runs.now_us()
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
    out.print(facts)

    steps = _steps(instance, run)
    if steps:
        table = Table(
            "step", "status", "attempts", "took", "materializations", "expectations", box=None, pad_edge=False
        )
        for step in steps:
            table.add_row(
                plain(step.step_key),
                status_text(step_status(step, run)),
                str(step.attempts),
                duration(_step_seconds(step, run, now)),
                str(step.materializations),
                str(step.expectations),
            )
        out.print()
        out.print(table)
    for event in _failures(instance, run):
        out.print()
        where = f"{event.event_type} {event.step_key or ''}".strip()
        out.print(Text(f"{plain(where)}: {plain_lines(event.message, '  ')}", style="red"))
        for line in error_lines(json.loads(event.data).get("error")):
            out.print(Text(f"  {line}"))
    failed = [step for step in steps if step_status(step, run) in ("FAILURE", "ABANDONED")]
    if failed:
        out.print()
        for step in failed[:_MAX_HINTS]:
            # Names are others' choice, and the line is there to be pasted into a shell.
            names = [run.run_id, step.step_key]
            ends_options = ["--"] if any(name.startswith("-") for name in names) else []
            command = shlex.join(["daglens", "logs", *ends_options, *names])
            out.print(Text(f"what {plain(step.step_key)} printed: {plain(command)}, and with --stderr", style="dim"))
    page = instance.artifacts.list(run.run_id, limit=50)
    if page.artifacts:
        out.print()
        for artifact in page.artifacts:
            out.print(Text(f"artifact {plain(artifact.path)} ({size(artifact.size_bytes)})"))
        out.print(Text(f"in {instance.artifacts.folder(run.run_id)}", style="dim"))
        if page.has_more:
            out.print(Text("… and more", style="dim"))


def _step_seconds(step: StepState, run: RunRecord, now_us: int) -> float | None:
    if step.started_at_us is None:
        return None
    end = step.ended_at_us
    if end is None:
        end = run.ended_at_us if run.status.is_final and run.ended_at_us is not None else now_us
    return max(0, end - step.started_at_us) / 1_000_000


def _failures(instance: Instance, run: RunRecord) -> list[EventRecord]:
    found: list[EventRecord] = []
    after = 0
    while len(found) < _MAX_FAILURES:
        part = instance.events.read([EventQuery(run.run_id, after, 200, _FAILURES)])[0]
        found.extend(
            e
            for e in part.events
            if e.event_type != et.STEP_EXPECTATION_RESULT or json.loads(e.data).get("success") is False
        )
        after = part.through_seq
        if not part.has_more:
            break
    return found[:_MAX_FAILURES]
