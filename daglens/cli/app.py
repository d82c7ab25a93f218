"""The command's tree, and how its errors end."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from daglens.cli import (
    bundles,
    demo,
    events,
    instance_commands,
    logs,
    migrate,
    record,
    recorder_commands,
    run_commands,
    runs,
    serve,
)
from daglens.config.redaction import clean_for_terminal
from daglens.storage.errors import DaglensError

app = typer.Typer(
    name="daglens",
    help="The history of data pipelines: runs, events and compute logs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (serve, demo, record, events, logs):
    module.register(app)
migrate.register(instance_commands.app)
bundles.register(runs.app)
app.add_typer(runs.app, name="runs")
app.add_typer(run_commands.app, name="run")
app.add_typer(recorder_commands.app, name="recorder")
app.add_typer(instance_commands.app, name="instance")


def _print_version(wanted: bool) -> None:
    if wanted:
        from daglens import __version__

        typer.echo(f"daglens {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None: ...


_HINTS = {"RUN_NOT_FOUND": ". `daglens runs list` shows the runs, `daglens instance info` where it looks for them."}
_USAGE_CODES = {
    "CONFIG_INVALID",
    "INSECURE_BINDING",
    "INVALID_HOME",
    "INVALID_NAME",
    "INVALID_SERVER_ADDRESS",
    "INVALID_SERVER_SETTING",
}


def run() -> None:
    """Run the command with sys.argv; foreseen errors become one sentence on stderr, not a traceback."""
    try:
        app()
    except DaglensError as error:
        hint = _HINTS.get(error.code, "")
        typer.echo(f"daglens: {clean_for_terminal(str(error))}{hint}", err=True)
        sys.exit(2 if error.code in _USAGE_CODES else 1)
    except KeyboardInterrupt:  # typer takes care of it only while a command runs
        sys.exit(130)
    except Exception as error:  # a bug, of ours or of a storage by somebody else
        typer.echo(f"daglens: {clean_for_terminal(_unforeseen(error))}", err=True)
        _drop_output()
        sys.exit(1)


def _drop_output() -> None:
    """Where stdout takes no more (a full disk), Python would say so once more at its end, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unforeseen(error: Exception) -> str:
    if os.environ.get("DAGLENS_TRACEBACK"):
        return "".join(traceback.format_exception(error)).rstrip()
    told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{DaglensError()} {told[:2000]} (DAGLENS_TRACEBACK=1 shows where.)"
