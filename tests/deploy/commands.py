"""The `daglens` commands that files of deploy/ and of docs/ name, as our own command line understands them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer.main
from typer.core import TyperGroup

from daglens.cli.app import app


def parsed(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Which command `daglens ARGUMENTS…` calls, as `instance migrate`, and with which values.

    Raises:
        typer's UsageError: There is no such command, or it takes no such option or value.
    """
    command: Any = typer.main.get_command(app)
    words, names = list(arguments), []
    while isinstance(command, TyperGroup):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    return " ".join(names), command.make_context(names[-1], words).params
