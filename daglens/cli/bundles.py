"""`daglens runs export|import`, and the bundles of `daglens serve --bundle`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daglens.cli.options import InstanceHome, Json, find_run, open_instance

if TYPE_CHECKING:
    from daglens.bundles import OnStep
    from daglens.bundles.importing import Imported
    from daglens.instance import Instance

_SUFFIX = ".ndjson"

BundleFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--bundle", metavar="FILE", help="Serve these run bundles, read-only, instead of an instance's history."
    ),
]
MoreBundleFiles = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="More bundles, behind --bundle.", show_default=False)
]


def register(runs: typer.Typer) -> None:
    """Add the commands."""
    runs.command("export")(export_runs)
    runs.command("import")(import_runs)


def export_runs(
    run: Annotated[list[str], typer.Argument(metavar="RUN", help="Run ids, or `last` for the newest run.")],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE|DIR", help="The file; a folder (made when missing) for several runs."
        ),
    ] = ".",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    no_logs: Annotated[bool, typer.Option("--no-logs", help="Leave the compute logs out.")] = False,
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Write runs to files, each with its events and compute logs: to keep, or to send to a colleague.

    In a folder a file is named after its run. A file appears when it is whole.
    """
    from daglens.bundles.exporting import export_file
    from daglens.cli.output import counted, print_json, size

    with open_instance(instance_home) as instance:
        run_ids = list(dict.fromkeys(find_run(instance, name).run_id for name in run))
        paths = _paths(run_ids, output)
        with _progress() as progress:
            for run_id, path in zip(run_ids, paths, strict=True):
                done = export_file(
                    instance, run_id, path, logs=not no_logs, overwrite=force, on_step=progress(path.name)
                )
                if json:
                    print_json(
                        {
                            "runId": run_id,
                            "file": str(path),
                            "events": done.events,
                            "logs": done.logs,
                            "logBytes": done.log_bytes,
                            "bytes": done.size_bytes,
                        }
                    )
                else:
                    logs = f"{counted(done.logs, 'log')} ({size(done.log_bytes)})"
                    _say(
                        f"{path}: run {run_id} with {counted(done.events, 'event')} and {logs}, {size(done.size_bytes)}"
                    )


def import_runs(
    file: Annotated[list[Path], typer.Argument(metavar="FILE", help="Bundles.")],
    json: Json = False,
    instance_home: InstanceHome = None,
) -> None:
    """Bring runs from bundles into the instance. Interrupted, it can be called again: it carries on.

    A file is checked as a whole before anything of it is stored. One that can't be imported is told, and the others are
    imported all the same.
    """
    from daglens.bundles.importing import import_file
    from daglens.cli.output import plain
    from daglens.storage.errors import DaglensError

    failed = False
    with open_instance(instance_home) as instance, _progress() as progress:
        for path in file:
            try:
                done = import_file(instance, path, on_step=progress(path.name))
            except DaglensError as error:
                typer.echo(f"daglens: {plain(str(error))}", err=True)
                failed = True
            except KeyboardInterrupt:
                typer.echo(f"daglens: interrupted in {path}; importing it again carries on.", err=True)
                sys.exit(130)
            else:
                _tell(path, done, json)
    if failed:
        sys.exit(1)


def _tell(path: Path, done: Imported, as_json: bool) -> None:
    from daglens.cli.output import counted, print_json, size

    if as_json:
        print_json(
            {
                "runId": done.run_id,
                "file": str(path),
                "created": done.created,
                "events": done.events,
                "eventsBefore": done.events_before,
                "logs": done.logs,
                "logBytes": done.log_bytes,
                "logBytesBefore": done.log_bytes_before,
                "notes": list(done.notes),
            }
        )
        return
    new = f"{counted(done.events, 'event')} and {size(done.log_bytes)} of logs"
    if done.created:
        _say(f"{path}: run {done.run_id} with {new}")
    elif done.events or done.log_bytes:
        _say(f"{path}: run {done.run_id} was here in part; {new} are new")
    else:
        _say(f"{path}: run {done.run_id} was here already")
    for note in done.notes:
        _say(f"  {note}")


def _say(line: str) -> None:
    from daglens.cli.output import plain

    typer.echo(plain(line))


def _paths(run_ids: list[str], output: str) -> list[Path]:
    from daglens.bundles.exporting import BundleNotWritten
    from daglens.storage.names import file_name

    if output == "-":
        # The file appears when it is whole, and its name is part of what is told: a pipe has neither.
        raise typer.BadParameter("a bundle goes to a file, not to stdout", param_hint="'--output'")
    if len(run_ids) > 1 and output.endswith(_SUFFIX) and not os.path.isdir(output):
        raise typer.BadParameter(
            f"a bundle holds one run, and these are {len(run_ids)}: name a folder", param_hint="'--output'"
        )
    if len(run_ids) == 1 and not os.path.isdir(output) and not output.endswith("/"):
        return [Path(output)]
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleNotWritten(f"{folder} should be a folder for {len(run_ids)} runs: {error.strerror}.") from None
    return [folder / (file_name(run_id) + _SUFFIX) for run_id in run_ids]


@contextmanager
def _progress() -> Iterator[Callable[[str], OnStep]]:
    """Bars on stderr, where that is a terminal; gives what is told of one file."""
    from rich.markup import escape
    from rich.progress import Progress, TaskID

    from daglens.bundles import Part
    from daglens.cli.output import console, plain

    target = console(err=True)
    with Progress(console=target, transient=True, disable=not target.is_terminal) as bars:

        def of_file(name: str) -> OnStep:
            for task in bars.task_ids:
                bars.remove_task(task)
            tasks: dict[Part, TaskID] = {}

            def step(part: Part, done: int, of: int) -> None:
                if part not in tasks:
                    tasks[part] = bars.add_task(f"{escape(plain(name))} {part}", total=of)
                bars.update(tasks[part], completed=done)

            return step

        yield of_file


# ---------------------------------------------------------------- serving


def opener_of(first: list[Path] | None, more: list[Path] | None, **others: Any) -> Callable[[], Instance] | None:
    """Opens the bundles that `daglens serve` was given; None: it was given none.

    `others`: options, by name, that choose another instance and can't stand beside.
    """
    if not first:
        if more:
            raise typer.BadParameter(f"{more[0]}: files are served with --bundle.")
        return None
    for name, value in others.items():
        if value:
            raise typer.BadParameter(f"--bundle and --{name.replace('_', '-')} name two things to serve; take one.")

    def open_them() -> Instance:
        from daglens.bundles import Part
        from daglens.bundles.serving import open_bundles

        with _progress() as progress:
            steps: dict[Path, OnStep] = {}

            def on_file(path: Path, done: int, of: int) -> None:
                if path not in steps:
                    steps[path] = progress(path.name)
                steps[path](Part.CHECK, done, of)

            return open_bundles([*first, *(more or ())], on_file=on_file)

    return open_them
