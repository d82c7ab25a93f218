"""`daglens runs list|show|tail|delete|reap`, and `prune` and `terminate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from daglens.cli import prune, terminate
from daglens.cli.options import InstanceHome, Json, LogLines, RunId, find_run, open_instance
from daglens.cli.run_filters import Before, Pipelines, Since, Statuses, Tags, run_filter
from daglens.instance import Instance
from daglens.storage.records import (
    Head,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
)

if TYPE_CHECKING:
    from daglens.upkeep import DeletedRun

_COUNTED_AT_ONCE = 500

app = typer.Typer(help="List, show, follow, end, export, import and delete runs.", no_args_is_help=True)
prune.register(app)
terminate.register(app)


def _walk(
    instance: Instance, filter: RunFilter, limit: int, *, newest_first: bool = True, parts: RunParts = RunParts.ALL
) -> Iterator[RunRecord]:
    after: RunPosition | None = None
    while limit > 0:
        found = instance.runs.page(filter, newest_first=newest_first, after=after, limit=min(limit, 500), parts=parts)
        yield from found.runs
        limit -= len(found.runs)
        if not found.has_more or not found.runs:
            return
        after = RunPosition(found.runs[-1].created_at_us, found.runs[-1].run_id)


@app.command("list")
def list_runs(
    status: Statuses = None,
    pipeline: Pipelines = None,
    tag: Tags = None,
    since: Since = None,
    before: Before = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")] = 25,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Instead of newest first.")] = False,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """List runs, newest first."""
    from daglens.cli.output import (
        console,
        duration,
        local_time,
        plain,
        print_json,
        run_json,
        run_seconds,
        stats_json,
        status_text,
    )

    with open_instance(instance_home) as instance:
        wanted = run_filter(instance, status, pipeline, tag, since, before)
        runs = list(_walk(instance, wanted, limit, newest_first=not oldest_first))
        heads = instance.events.heads([run.run_id for run in runs])
        if json:
            for run in runs:
                print_json({**run_json(run), "stats": stats_json(run, heads.get(run.run_id))})
            return
        if not runs:
            console(err=True).print("No runs match." if wanted != RunFilter() else f"No runs yet in {instance.home}.")
            return
        from rich.table import Table

        now = instance.runs.now_us()
        table = Table(
            "run", "pipeline", "status", "created", "took", "steps", "events", "tags", box=None, pad_edge=False
        )
        for run in runs:
            head = heads.get(run.run_id)
            table.add_row(
                plain(run.run_id),
                plain(run.pipeline_name),
                status_text(run.status),
                local_time(run.created_at_us),
                duration(run_seconds(run, now)),
                _steps(head),
                str(head.last_seq if head else 0),
                plain(" ".join(f"{k}={v}" for k, v in run.tags)),
            )
        console().print(table)


def _steps(head: Head | None) -> str:
    if head is None:
        return ""
    counts = head.counts
    parts = [f"{counts.steps_succeeded} ok"]
    if counts.steps_failed:
        parts.append(f"{counts.steps_failed} failed")
    if counts.steps_in_progress and not (head.state.status and head.state.status.is_final):
        parts.append(f"{counts.steps_in_progress} running")
    return ", ".join(parts)


@app.command()
def show(run: RunId, lines: LogLines = 20, json: Json = False, instance_home: InstanceHome = None) -> None:
    """Show one run: what it was, how each step went, what failed and why, and the end of what failed steps printed."""
    from daglens.cli.run_view import print_run, run_details

    with open_instance(instance_home) as instance:
        found = find_run(instance, run)
        if json:
            from daglens.cli.output import print_json

            print_json(run_details(instance, found, lines))
        else:
            print_run(instance, found, lines)


@app.command()
def tail(
    run: RunId,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Begin with the last N events.")] = 20,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Follow the events of a run until it has ended."""
    from daglens.cli import follow
    from daglens.cli.events import print_events

    with open_instance(instance_home) as instance:
        run_id = find_run(instance, run).run_id
        found, through = follow.last(instance, run_id, last, None)
        print_events(chain(found, follow.follow(instance, run_id, through, None)), json)


@app.command()
def delete(
    run: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Run ids.")] = None,
    status: Statuses = None,
    pipeline: Pipelines = None,
    tag: Tags = None,
    since: Since = None,
    before: Before = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Delete finished runs with their events, compute logs and artifacts.

    Name them by id, or by conditions. Runs that have not ended stay and are named. Interrupted, it can be called again.
    """
    from daglens.cli.output import plain

    with open_instance(instance_home) as instance:
        chosen = _chosen(instance, run, run_filter(instance, status, pipeline, tag, since, before))
        finished = [r for r in chosen if r.status.is_final]
        for r in chosen:
            if not r.status.is_final:
                hint = "`daglens runs terminate` or `daglens run finish` ends it, `daglens runs reap` if it is dead"
                typer.echo(f"{plain(r.run_id)}: {r.status}, not finished, so it stays; {hint}.", err=True)
        if finished and not dry_run and not yes and not _confirmed(len(finished)):
            raise typer.Exit(1)
        _delete(instance, finished, dry_run, json)
        if len(finished) < len(chosen) and run:
            sys.exit(1)


def _chosen(instance: Instance, run_ids: list[str] | None, filter: RunFilter) -> list[RunRecord]:
    if run_ids:
        if filter != RunFilter():
            raise typer.BadParameter("Name runs by id or by conditions, not both.")
        return [find_run(instance, run_id) for run_id in dict.fromkeys(run_ids)]
    if filter == RunFilter():
        raise typer.BadParameter("Name run ids, or at least one condition such as --before 30d.")
    return list(_walk(instance, filter, sys.maxsize, newest_first=False, parts=RunParts.NONE))


def _confirmed(count: int) -> bool:
    from daglens.cli.output import counted

    runs = counted(count, "run")
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"This would delete {runs}; add --yes to do so without being asked.")
    return typer.confirm(f"Delete {runs} with events, logs and artifacts?")


def _delete(instance: Instance, runs: Sequence[RunRecord], dry_run: bool, as_json: bool) -> None:
    from rich.progress import track

    from daglens.cli.output import console, counted, print_json, size

    events = freed = 0
    progress = console(err=True)
    for gone in track(
        _gone(instance, [run.run_id for run in runs], dry_run),
        "Counting" if dry_run else "Deleting",
        total=len(runs),
        console=progress,
        disable=not progress.is_terminal,
    ):
        events += gone.events
        freed += gone.bytes
        if as_json:
            print_json({"runId": gone.run_id, "events": gone.events, "bytes": gone.bytes, "dryRun": dry_run})
    if not as_json:
        verb = "Would delete" if dry_run else "Deleted"
        what = f"{counted(len(runs), 'run')} with {counted(events, 'event')}"
        typer.echo(f"{verb} {what} and {size(freed)} of logs and artifacts.")


def _gone(instance: Instance, run_ids: Sequence[str], dry_run: bool) -> Iterator[DeletedRun]:
    from daglens.upkeep import delete_run, would_delete

    for start in range(0, len(run_ids), _COUNTED_AT_ONCE):
        some = run_ids[start : start + _COUNTED_AT_ONCE]
        if dry_run:
            yield from would_delete(instance, some)
        else:
            yield from (delete_run(instance, run_id) for run_id in some)


@app.command()
def reap(json: Json = False, instance_home: InstanceHome = None) -> None:
    """Presume dead the runs whose recorders have been silent beyond their timeout: each gets a presumed RUN_FAILURE.

    A server does this by itself every 10 s. Runs whose recorder never sent a heartbeat are left alone.
    """
    from daglens.cli.output import plain, print_json
    from daglens.upkeep import reap as reap_runs

    with open_instance(instance_home) as instance:
        presumed = reap_runs(instance)
        for run_id in presumed:
            if json:
                print_json({"runId": run_id})
            else:
                typer.echo(f"{plain(run_id)}: presumed dead")
        if not presumed and not json:
            typer.echo("Every unfinished run with heartbeats is alive.")
