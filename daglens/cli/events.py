"""`daglens events`: the events of one run."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Annotated

import typer

from daglens.cli.options import InstanceHome, Json, RunId, find_run, open_instance
from daglens.storage.records import EventFilter, EventRecord, LogLevel

Types = Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this type, e.g. STEP_FAILURE.")]
Steps = Annotated[list[str] | None, typer.Option("--step", metavar="STEP", help="Only events of this step.")]
Level = Annotated[str | None, typer.Option("--level", metavar="LEVEL", help="Only this level and above.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("events")(events)


def event_filter(types: list[str] | None, steps: list[str] | None, level: str | None) -> EventFilter | None:
    """The filter that the options ask for; None when they ask for none."""
    if level is not None and level.upper() not in LogLevel.__members__:
        raise typer.BadParameter(f"{level!r} is no level; take one of {', '.join(LogLevel.__members__)}.")
    if not types and not steps and level is None:
        return None
    return EventFilter(
        [t.upper() for t in types] if types else None, steps or None, LogLevel[level.upper()] if level else None
    )


def print_events(found: Iterable[EventRecord], as_json: bool) -> bool:
    """Print events as they come, and say whether there was any. For people, the day stands above the first one and
    where it changes."""
    from daglens.cli.output import console, day_line, event_json, event_line, print_json

    out = console()
    day, is_any = None, False
    for event in found:
        is_any = True
        if as_json:
            print_json(event_json(event))
            continue
        line = day_line(event)
        if line != day:
            out.print(line)
            day = line
        out.print(event_line(event))
    return is_any


def events(
    run: RunId,
    type: Types = None,
    step: Steps = None,
    level: Level = None,
    after: Annotated[
        int | None, typer.Option("--after", min=0, metavar="SEQ", help="Only events after this seq.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=1, metavar="N", help="Only the last N that match.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Print the events of a run, oldest first.

    With --json each line is an object: runId, seq, timestamp, level, message, eventType, stepKey, data.
    """
    from daglens.cli import follow as walks

    if after is not None and last is not None:
        raise typer.BadParameter("--after and --last can't be given together.")
    wanted = event_filter(type, step, level)
    with open_instance(instance_home) as instance:
        run_id = find_run(instance, run).run_id
        start = after or 0
        found: Iterable[EventRecord] = ()
        if last is not None:
            found, start = walks.last(instance, run_id, last, wanted)
        if follow:
            found = chain(found, walks.follow(instance, run_id, start, wanted))
        elif last is None:
            found = walks.walk(instance, run_id, start, wanted)
        if not print_events(found, json) and not json:
            # Else a misspelt type or step looks like a run in which nothing happened.
            is_all = wanted is None and not after
            typer.echo("This run has no events." if is_all else "No event of this run matches.", err=True)
