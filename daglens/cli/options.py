"""Options that several commands share, and opening the instance they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from daglens.cli.option_texts import INSTANCE_HOME, TOKEN_FILE
from daglens.instance import Instance, default_fallback
from daglens.storage.errors import RunNotFound
from daglens.storage.records import RunFilter, RunParts, RunRecord, RunStatus

InstanceHome = Annotated[Path | None, typer.Option("--instance-home", metavar="DIR", help=INSTANCE_HOME)]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help=TOKEN_FILE)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of a table.")]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="Run id; `last` for the newest run, `failed` for the newest that failed.")
]
LogLines = Annotated[
    int, typer.Option("--lines", min=0, metavar="N", help="Of what failed steps printed, the last N lines; 0: none.")
]


def open_instance(home: Path | None) -> Instance:
    """The instance every command works on: the four rules with the command's fallback folder."""
    return Instance.open(home=home, fallback=default_fallback())


def find_run(instance: Instance, run_id: str) -> RunRecord:
    """The run of this id; `last` is the newest run and `failed` the newest failed one, unless a run has that very id.

    Raises:
        RunNotFound: There is no such run.
        typer.Exit: No run is the last one, or has failed; that is said.
    """
    found = instance.run(run_id)
    if found is None and run_id in _NEWEST:
        wanted, none = _NEWEST[run_id]
        found = newest_run(instance, wanted)
        if found is None:
            typer.echo(f"daglens: {none} in {instance.home}.", err=True)
            raise typer.Exit(1)
    if found is None:
        raise RunNotFound(run_id)
    return found


def newest_run(instance: Instance, filter: RunFilter) -> RunRecord | None:
    """The newest run that matches."""
    newest = instance.runs.page(filter, limit=1, parts=RunParts.ALL).runs
    return newest[0] if newest else None


_NEWEST: Final = {
    "last": (RunFilter(), "No runs yet"),
    "failed": (RunFilter(statuses=[RunStatus.FAILURE]), "No run has failed"),
}
