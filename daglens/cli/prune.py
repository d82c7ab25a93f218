"""`daglens runs prune`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daglens.cli.options import InstanceHome, Json, open_instance
from daglens.storage.records import FINAL_STATUSES, RunStatus

if TYPE_CHECKING:
    from daglens.instance import Instance
    from daglens.retention import Rule, Undeleted
    from daglens.upkeep import DeletedRun


def register(runs: typer.Typer) -> None:
    """Add the command."""
    runs.command("prune")(prune)


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Runs that ended longer ago, e.g. 30d, 12h or 8w.")
    ],
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only runs of this status: SUCCESS, FAILURE or CANCELED."),
    ] = None,
    keep_last: Annotated[
        int, typer.Option("--keep-last", metavar="N", min=0, help="The newest N runs stay, however old.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Delete finished runs that ended long ago, oldest first, with their events, compute logs and artifacts.

    Interrupted or killed, it can be called again: it carries on. A server does the same by itself where dagster.yaml
    says so (`daglens: retention:`).
    """
    from daglens.cli.output import local_time

    with open_instance(instance_home) as instance:
        rule = _rule(instance, older_than, status, keep_last)
        count = None
        if not dry_run and not yes:
            count = _count(instance, rule)
            if count and not _confirmed(count, rule):
                raise typer.Exit(1)
        done = _Done(dry_run, json)
        try:
            _go_through(instance, rule, done, count)
        finally:
            # What went is told also when it ends early.
            done.say(f"ended before {local_time(rule.ended_before_us)}")
        if done.failed:
            sys.exit(1)


def _rule(instance: Instance, older_than: str, statuses: list[str] | None, keep_last: int) -> Rule:
    from daglens.cli.times import parse_time
    from daglens.retention import Rule

    wanted = {status.upper() for status in statuses or FINAL_STATUSES}
    if unknown := sorted(wanted - FINAL_STATUSES):
        final = ", ".join(sorted(FINAL_STATUSES))
        raise typer.BadParameter(f"{unknown[0]} is no status of a finished run; take one of {final}.")
    return Rule(
        ended_before_us=parse_time(older_than, instance.runs.now_us()),
        statuses=tuple(RunStatus(status) for status in sorted(wanted)),
        keep_last=keep_last,
    )


def _count(instance: Instance, rule: Rule) -> int:
    from daglens.retention import expired

    return sum(map(len, expired(instance.runs, rule)))


def _confirmed(count: int, rule: Rule) -> bool:
    from daglens.cli.output import counted, local_time

    runs = counted(count, "run")
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"This would delete {runs}; add --yes to do so without being asked.")
    before = local_time(rule.ended_before_us)
    return typer.confirm(f"Delete {runs} that ended before {before}, with events, logs and artifacts?")


def _go_through(instance: Instance, rule: Rule, done: _Done, count: int | None) -> None:
    from daglens.retention import delete_runs, expired
    from daglens.upkeep import would_delete

    pages = expired(instance.runs, rule)
    with _progress(done.dry_run) as advance:
        if advance.shown and count is None:
            count = _count(instance, rule)
        for page in pages:
            gone: Iterable[DeletedRun | Undeleted]
            if done.dry_run:
                gone = would_delete(instance, [run.run_id for run in page])
            else:
                gone = delete_runs(instance, page)
            for run in gone:
                done.take(run)
                advance.to(done.runs + done.failed, count)


@dataclass
class _Done:
    """What has been deleted, or would be."""

    dry_run: bool
    as_json: bool
    runs: int = 0
    events: int = 0
    freed_bytes: int = 0
    failed: int = 0

    def take(self, run: DeletedRun | Undeleted) -> None:
        from daglens.cli.output import plain, print_json
        from daglens.retention import Undeleted

        if isinstance(run, Undeleted):
            self.failed += 1
            typer.echo(f"{plain(run.run_id)}: not deleted: {plain(str(run.error))}", err=True)
            return
        self.runs += 1
        self.events += run.events
        self.freed_bytes += run.bytes
        if self.as_json:
            print_json({"runId": run.run_id, "events": run.events, "bytes": run.bytes, "dryRun": self.dry_run})

    def say(self, which: str) -> None:
        from daglens.cli.output import counted, size

        if self.as_json:
            return
        verb = "Would delete" if self.dry_run else "Deleted"
        freed = size(self.freed_bytes)
        typer.echo(
            f"{verb} {counted(self.runs, 'run')} that {which}, with {counted(self.events, 'event')} and {freed} of "
            "logs and artifacts."
        )


class _Bar:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, progress: Any, task: Any) -> None:
        self.shown = progress is not None
        self._progress = progress
        self._task = task

    def to(self, done: int, of: int | None) -> None:
        if self.shown:
            self._progress.update(self._task, completed=done, total=of)


@contextmanager
def _progress(dry_run: bool) -> Iterator[_Bar]:
    from daglens.cli.output import console

    err = console(err=True)
    if not err.is_terminal:
        yield _Bar(None, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    what = TextColumn("{task.description}")
    with Progress(what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err) as progress:
        yield _Bar(progress, progress.add_task("Counting" if dry_run else "Deleting", total=None))
