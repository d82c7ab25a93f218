"""Compute logs that dead processes of this machine had not brought to their store: `daglens recorder flush`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from daglens.storage.contract import Leftovers

_ROUND_S = 1.0
_HOPELESS_ROUNDS = 5
"""So many in a row with a problem, in which nothing was finished, are enough."""


def finish_leftover_logs(home: Path | None) -> tuple[int, int] | None:
    """Send them, saying how it goes; how many were sent, and how many are left. None: the compute logs of this
    instance leave nothing behind.

    Raises:
        InvalidHome, ConfigError
    """
    from daglens.instance_location import locate

    # Only a dagster.yaml can name such a storage; and a flush makes no instance where there is none.
    location = locate(home=home)
    if location.yaml_file is None or location.home is None:
        return None
    from daglens.config.load import load_config
    from daglens.storage.contract import Leftovers

    # Alone, so that it works while the database is away.
    section = load_config(location.yaml_file, location.home).sections["compute_logs"]
    logs = section.build()
    try:
        return _finish(logs, section.clean) if isinstance(logs, Leftovers) else None
    finally:
        logs.close()


def _finish(logs: Leftovers, clean: Callable[[str], str]) -> tuple[int, int]:
    finished = hopeless = 0
    told: int | None = None
    while True:
        state = logs.finish_leftovers(_ROUND_S)
        finished += state.finished
        if not state.left:
            break
        hopeless = 0 if state.finished or state.problem is None else hopeless + 1
        if hopeless == _HOPELESS_ROUNDS:
            break
        if state.left != told:
            typer.echo(f"{finished} {state.what} are sent, {state.left} wait.", err=True)
            told = state.left
    if finished:
        typer.echo(f"{finished} {state.what}: sent.")
    if state.left:
        why = f" {clean(state.problem)}" if state.problem else ""
        typer.echo(
            f"daglens: {state.left} {state.what} could not be sent, and stay on this machine; the same command "
            f"sends them.{why}",
            err=True,
        )
    return finished, state.left
