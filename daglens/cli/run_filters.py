"""The conditions by which commands choose runs."""

from __future__ import annotations

from typing import Annotated

import typer

from daglens.instance import Instance
from daglens.storage.records import RunFilter, RunStatus, TagFilter

Statuses = Annotated[list[str] | None, typer.Option("--status", metavar="STATUS", help="Only runs of this status.")]
Pipelines = Annotated[list[str] | None, typer.Option("--pipeline", metavar="NAME", help="Only runs of this pipeline.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY[=VALUE]", help="Only runs with this tag.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Created since, e.g. 2h, 7d or a date.")]
Before = Annotated[str | None, typer.Option("--before", metavar="TIME", help="Created before, e.g. 30d or a date.")]


def run_filter(
    instance: Instance,
    statuses: list[str] | None,
    pipelines: list[str] | None,
    tags: list[str] | None,
    since: str | None,
    before: str | None,
) -> RunFilter:
    """The filter that the options ask for.

    Raises:
        typer.BadParameter: A status or a time is none.
    """
    from daglens.cli.times import parse_time

    for status in statuses or ():
        if status.upper() not in RunStatus.__members__:
            raise typer.BadParameter(f"{status!r} is no status; take one of {', '.join(RunStatus.__members__)}.")
    now = instance.runs.now_us()
    return RunFilter(
        statuses=[RunStatus(s.upper()) for s in statuses] if statuses else None,
        pipeline_names=pipelines or None,
        tags=[TagFilter(key, value if eq else None) for key, eq, value in (t.partition("=") for t in tags or ())]
        or None,
        created_after_us=parse_time(since, now) if since else None,
        created_before_us=parse_time(before, now) if before else None,
    )
