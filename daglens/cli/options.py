"""Options that several commands share, and opening the instance they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daglens.cli.option_texts import INSTANCE_HOME, TOKEN_FILE
from daglens.instance import Instance, default_fallback
from daglens.storage.errors import RunNotFound
from daglens.storage.records import RunFilter, RunParts, RunRecord

InstanceHome = Annotated[Path | None, typer.Option("--instance-home", metavar="DIR", help=INSTANCE_HOME)]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help=TOKEN_FILE)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of a table.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, or `last` for the newest run.")]


def open_instance(home: Path | None) -> Instance:
    """The instance every command works on: the four rules with the command's fallback folder."""
    return Instance.open(home=home, fallback=default_fallback())


def find_run(instance: Instance, run_id: str) -> RunRecord:
    """The run of this id; `last` is the newest run, unless a run has that very id.

    Raises:
        RunNotFound: There is no such run.
        typer.Exit: There is no run at all, and so no last one; that is said.
    """
    found = instance.run(run_id)
    if found is None and run_id == "last":
        newest = instance.runs.page(RunFilter(), limit=1, parts=RunParts.ALL).runs
        if not newest:
            typer.echo(f"daglens: No runs yet in {instance.home}.", err=True)
            raise typer.Exit(1)
        found = newest[0]
    if found is None:
        raise RunNotFound(run_id)
    return found
