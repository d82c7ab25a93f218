"""`daglens record`: a command as a step of a run."""

from __future__ import annotations

import os
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daglens.cli.options import InstanceHome, To, TokenFile

if TYPE_CHECKING:
    from daglens.recorder.destination import Destination
    from daglens.recorder.problems import Problems

RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="ID", help="Join this run instead of beginning one. Also by $DAGLENS_RUN_ID."),
]
Pipeline = Annotated[str | None, typer.Option("--pipeline", metavar="NAME", help="Begin a run of this pipeline.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="A tag of the run; repeatable.")]


def register(app: typer.Typer) -> None:
    """Add `record` to the command's tree."""
    # What follows the command's name is the command's, also without a `--` in front of it.
    settings = {"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}
    app.command(context_settings=settings)(record)


def record(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="The command and its arguments.")],
    step: Annotated[str, typer.Option("--step", metavar="KEY", help="Step key of the command.")],
    pipeline: Pipeline = None,
    run: RunOption = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", metavar="ID", help="Id of the run that begins; by default a UUID.")
    ] = None,
    tag: Tags = None,
    capture: Annotated[bool, typer.Option(help="Keep the command's stdout and stderr.")] = True,
    instance_home: InstanceHome = None,
    to: To = None,
    token_file: TokenFile = None,
) -> None:
    """Run a command as a step, and record what it prints and how it ends.

    Its exit code and signals pass through, whatever happens to the recording. With --pipeline it is a run of its own;
    with --run, or $DAGLENS_RUN_ID, a step of that run.
    """
    from daglens.recorder.command import ChildCommand, record_command
    from daglens.recorder.destination import HOME_VARIABLE
    from daglens.recorder.problems import Problems
    from daglens.recorder.run import Run
    from daglens.recorder.start import RUN_ID_VARIABLE, record_new_run, record_part, storable_tags
    from daglens.storage.names import check_name
    from daglens.storage.records import NewRun

    joined = run if run is not None else os.environ.get(RUN_ID_VARIABLE) or None
    if joined is None and pipeline is None:
        raise typer.BadParameter("give --pipeline to begin a run, or --run to join one", param_hint="'--pipeline'")
    if joined is not None and (tag or run_id is not None):
        raise typer.BadParameter("--tag and --run-id are for a run that begins here; this one is joined")
    if instance_home is None and to is None and joined is not None and (named := os.environ.get(HOME_VARIABLE)):
        instance_home = Path(named)
    chosen = run_id if run_id is not None else str(uuid.uuid4())
    recorded = check_name(chosen if joined is None else joined, "run id")
    if pipeline is not None:
        check_name(pipeline, "pipeline name")
    problems = Problems()
    destination = destination_of(recorded, problems, instance_home, to, token_file)

    def begin(child: ChildCommand) -> Run:
        if joined is not None:
            return record_part(joined, destination, problems, capture=capture, interruptible=child)
        assert pipeline is not None
        new = NewRun(chosen, pipeline, tags=storable_tags(parse_tags(tag), problems))
        return record_new_run(new, destination, problems, capture=capture, interruptible=child)

    raise typer.Exit(record_command(command, step, begin))


def destination_of(
    run_id: str, problems: Problems, home: Path | None, to: str | None, token_file: Path | None
) -> Destination:
    """Where a command records a run, opened when it is needed: what the options say, else what the environment says.

    Raises:
        typer.BadParameter: The options contradict each other.
        InvalidServerAddress: `to` is no address of a server.
    """
    from daglens.instance import Instance, default_fallback
    from daglens.recorder.destination import TO_VARIABLE, InstanceDestination
    from daglens.recorder.where import destination_for

    opener = partial(Instance.open, home=home, fallback=default_fallback())
    if home is not None and to is not None:
        raise typer.BadParameter("a run is recorded in one place; --instance-home names another", param_hint="'--to'")
    if token_file is not None and to is None and (home is not None or not os.environ.get(TO_VARIABLE)):
        raise typer.BadParameter("a token is for the server of --to", param_hint="'--token-file'")
    if home is not None:
        return InstanceDestination(problems, opener=opener)
    token = None
    if token_file is not None:
        from daglens.recorder.remote.address import Token

        token = Token.in_file(token_file)
    return destination_for(run_id, problems, to=to, token=token, opener=opener)


def parse_tags(given: list[str] | None) -> dict[str, str]:
    """KEY=VALUE each.

    Raises:
        typer.BadParameter: One has no `=`, or no key.
    """
    tags: dict[str, str] = {}
    for one in given or ():
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{one!r} is no tag; write KEY=VALUE", param_hint="'--tag'")
        tags[key] = value
    return tags
