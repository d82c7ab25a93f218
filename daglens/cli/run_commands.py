"""`daglens run start|finish`: a run whose steps are commands of a shell script."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated

import typer

from daglens.cli.options import InstanceHome, To, TokenFile
from daglens.cli.record import Tags, destination_of, parse_tags

app = typer.Typer(help="Begin and end a run whose steps are recorded by `daglens record --run`.", no_args_is_help=True)


class End(StrEnum):
    """How a run can be said to have ended."""

    success = "success"
    failure = "failure"
    canceled = "canceled"


@app.command()
def start(
    pipeline: Annotated[str, typer.Option("--pipeline", metavar="NAME", help="Name of the pipeline.")],
    run_id: Annotated[str | None, typer.Option("--run-id", metavar="ID", help="By default a UUID.")] = None,
    tag: Tags = None,
    timeout: Annotated[
        int | None,
        typer.Option(
            "--timeout",
            min=3,
            metavar="SECONDS",
            help="Presume the run dead after so long without a sign of life: longer than any pause between its steps. "
            "By default never.",
        ),
    ] = None,
    instance_home: InstanceHome = None,
    to: To = None,
    token_file: TokenFile = None,
) -> None:
    """Begin a run and print its id: `export DAGLENS_RUN_ID=$(daglens run start --pipeline nightly)`.

    The id is printed even when the run can't be recorded now (that is said on stderr), so that a script goes on.
    """
    from daglens.recorder.problems import Problems, note
    from daglens.recorder.shell_runs import start_shell_run
    from daglens.recorder.start import storable_tags
    from daglens.storage.names import check_name
    from daglens.storage.records import NewRun

    chosen = check_name(run_id if run_id is not None else str(uuid.uuid4()), "run id")
    problems = Problems()
    destination = destination_of(chosen, problems, instance_home, to, token_file)
    run = NewRun(chosen, check_name(pipeline, "pipeline name"), tags=storable_tags(parse_tags(tag), problems))
    typer.echo(chosen)
    try:
        start_shell_run(destination, run, timeout)
    except Exception as error:
        note(f"The run is not recorded. {error}")
    finally:
        destination.close()


@app.command()
def finish(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN", envvar="DAGLENS_RUN_ID", help="Run id; by default $DAGLENS_RUN_ID.")
    ],
    status: Annotated[End, typer.Option("--status", help="How it ended.")] = End.success,
    message: Annotated[str | None, typer.Option("--message", help="Why it failed or was canceled.")] = None,
    instance_home: InstanceHome = None,
    to: To = None,
    token_file: TokenFile = None,
) -> None:
    """End a run. Safe to repeat: the first end counts."""
    from daglens.recorder.problems import Problems
    from daglens.recorder.shell_runs import finish_shell_run
    from daglens.storage.names import check_name

    destination = destination_of(check_name(run_id, "run id"), Problems(), instance_home, to, token_file)
    try:
        finish_shell_run(destination, run_id, status.value, message)
    finally:
        destination.close()
