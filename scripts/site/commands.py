"""The reference of the `daglens` command, out of the parsers that read it."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer.main
from typer.core import TyperGroup

from daglens.cli import record, run_commands, script_commands
from daglens.cli.app import app

HEAD = """# Commands

Every command, with all of its options; `--help` behind any of them tells the same.
"""


@dataclass(frozen=True)
class Parameter:
    """One option or argument.

    Attributes:
        name: As it is typed, with what it takes: `-p, --port INT`.
        text: What it does, its default and its bounds included.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command that does something.

    Attributes:
        name: With the groups that it is in: `daglens runs list`.
        about: What it does.
    """

    name: str
    about: str
    parameters: tuple[Parameter, ...]


def commands() -> list[Command]:
    """All of them, by name."""
    root: Any = typer.main.get_command(app)
    found = [*_of_typer("daglens", root), *_of_argparse()]
    return sorted(found, key=lambda command: command.name)


def page() -> str:
    """Text of the page."""
    parts = [HEAD]
    for command in commands():
        parts.append(f"## {command.name}\n\n{command.about}\n")
        if command.parameters:
            rows = "\n".join(f"| `{_cell(each.name)}` | {_cell(each.text)} |" for each in command.parameters)
            parts.append(f"| | |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def _of_typer(name: str, command: Any) -> Iterator[Command]:
    if isinstance(command, TyperGroup):
        for part, below in command.commands.items():
            if name != "daglens" or part not in script_commands.NAMES:
                yield from _of_typer(f"{name} {part}", below)
        return
    about = inspect.cleandoc(command.help or "")
    context = command.make_context(name, [], resilient_parsing=True)
    told = (parameter.get_help_record(context) for parameter in command.params)
    yield Command(name, about, tuple(Parameter(_plain(record[0]), record[1]) for record in told if record))


def _of_argparse() -> Iterator[Command]:
    parser = argparse.ArgumentParser(prog="daglens")
    parts = parser.add_subparsers()
    record.register(parts)
    run_commands.register(parts)
    yield from _below(parser)


def _below(parser: argparse.ArgumentParser) -> Iterator[Command]:
    parameters = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _below(below)
            return
        if isinstance(action, argparse._HelpAction):
            continue
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        words = [", ".join(action.option_strings), "" if action.nargs == 0 else metavar]
        default = "" if action.default in (None, False, [], argparse.SUPPRESS) else f" [default: {action.default}]"
        required = " [required]" if action.required and action.option_strings else ""
        parameters.append(Parameter(" ".join(filter(None, words)), f"{action.help or ''}{required}{default}"))
    yield Command(parser.prog, parser.description or "", tuple(parameters))


def _plain(name: str) -> str:
    """Without Python's words for what an option takes."""
    if not name.startswith("-"):
        return name.partition(" <")[0]
    return re.sub(r"<(?:int|float)( range)?>", "NUMBER", name.replace("<str>", "TEXT"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
