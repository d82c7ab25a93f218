"""`daglens failed`: the newest failed run, why, and the last lines that its failed steps printed."""

from __future__ import annotations

import typer

from daglens.cli.options import InstanceHome, Json, LogLines, newest_run, open_instance
from daglens.cli.run_filters import Before, Pipelines, Since, Tags, run_filter
from daglens.instance import Instance
from daglens.storage.records import RunFilter, RunParts, RunRecord, RunStatus

_DAY_US = 86_400_000_000
_COUNTED_TO = 100
_LOOKED_AT = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("failed")(failed)


def failed(
    pipeline: Pipelines = None,
    tag: Tags = None,
    since: Since = None,
    before: Before = None,
    lines: LogLines = 20,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """What failed? Show the newest failed run: its errors with their stacks, and the end of what failed steps printed.

    The same of any run: `daglens runs show RUN`.
    """
    from daglens.cli.output import console, print_json
    from daglens.cli.run_view import print_run, run_details

    with open_instance(instance_home) as instance:
        wanted = run_filter(instance, [RunStatus.FAILURE], pipeline, tag, since, before)
        found = newest_run(instance, wanted)
        if found is None:
            told = "No failed run matches" if pipeline or tag or since or before else "No run has failed"
            console(err=True).print(f"{told} in {instance.home}.")
        elif json:
            print_json(run_details(instance, found, lines))
        else:
            print_run(instance, found, lines)
            _print_others(instance, found)
        if not json:
            _print_silent(instance)


def _print_others(instance: Instance, shown: RunRecord) -> None:
    """Others may have failed in the same night."""
    from rich.text import Text

    from daglens.cli.output import console, counted

    since_us = instance.runs.now_us() - _DAY_US
    count = instance.runs.count(RunFilter(statuses=[RunStatus.FAILURE], created_after_us=since_us), _COUNTED_TO)
    count -= shown.created_at_us > since_us
    if count > 0:
        more = f"more than {_COUNTED_TO} other runs" if count >= _COUNTED_TO else counted(count, "other run")
        out = console()
        out.print()
        out.print(Text(f"{more} of the last 24 hours failed: daglens runs list --status FAILURE --since 1d", "yellow"))


def _print_silent(instance: Instance) -> None:
    """Where no server runs, nobody has presumed dead what was killed: it looks as if it were under way."""
    from daglens.cli.output import console, counted, plain
    from daglens.upkeep import UNFINISHED, last_heard_us

    now = instance.runs.now_us()
    # The newest: older ones may be many that never end, whom nobody asks about any more.
    page = instance.runs.page(RunFilter(statuses=UNFINISHED), limit=_LOOKED_AT, parts=RunParts.NONE).runs
    heads = instance.events.heads([run.run_id for run in page])
    silent = [
        run
        for run in page
        if run.heartbeat_at_us is not None
        and run.heartbeat_timeout_s is not None
        and now - last_heard_us(run, heads.get(run.run_id)) > run.heartbeat_timeout_s * 1_000_000
    ]
    if silent:
        which = counted(len(silent), "unfinished run")
        text = f"{which} fell silent and may be dead; `daglens runs reap` makes failures of them."
        console(err=True).print(f"{text} The newest: {plain(silent[0].run_id)}")
