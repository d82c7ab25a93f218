"""Options of the commands that scripts call, and the place they name."""

from __future__ import annotations

import argparse
import inspect
import os
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from daglens.cli.option_texts import INSTANCE_HOME, TO, TOKEN_FILE
from daglens.instance import Instance, default_fallback

if TYPE_CHECKING:
    from daglens.recorder.destination import Destination
    from daglens.recorder.problems import Problems

_COLUMNS = 80

Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers gives


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. argparse makes a formatter for each argument that is added, and asks shutil for the
    width, whose import takes 2 ms."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(1).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def command_parser(commands: Commands[ArgumentParser], name: str, summary: str, about: str) -> ArgumentParser:
    """A parser for one command; `about` is shown as it stands by `--help`."""
    return commands.add_parser(
        name,
        help=summary,
        description=inspect.cleandoc(about),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )


def add_place(parser: ArgumentParser) -> None:
    """The options that say where to record: an instance of this machine, or a server."""
    parser.add_argument("--instance-home", metavar="DIR", type=Path, help=INSTANCE_HOME)
    parser.add_argument("--to", metavar="URL", help=TO)
    parser.add_argument("--token-file", metavar="FILE", type=Path, help=TOKEN_FILE)


def add_tags(parser: ArgumentParser) -> None:
    """The tags of a run that begins."""
    parser.add_argument(
        "--tag", metavar="KEY=VALUE", type=_tag, action="append", default=[], help="A tag of the run; repeatable."
    )


def _tag(given: str) -> tuple[str, str]:
    key, equals, value = given.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{given!r} is no tag; write KEY=VALUE")
    return key, value


def destination_of(
    parser: ArgumentParser, run_id: str, problems: Problems, home: Path | None, to: str | None, token_file: Path | None
) -> Destination:
    """Where a command records a run, opened when it is needed: what the options say, else what the environment says.

    Raises:
        SystemExit: The options contradict each other, which is said.
        InvalidServerAddress: `to` is no address of a server.
    """
    from daglens.recorder.destination import TO_VARIABLE, InstanceDestination
    from daglens.recorder.where import destination_for

    opener = partial(Instance.open, home=home, fallback=default_fallback())
    if home is not None and to is not None:
        parser.error("argument --to: a run is recorded in one place; --instance-home names another")
    if token_file is not None and to is None and (home is not None or not os.environ.get(TO_VARIABLE)):
        parser.error("argument --token-file: a token is for the server of --to")
    if home is not None:
        return InstanceDestination(problems, opener=opener)
    token = None
    if token_file is not None:
        from daglens.recorder.remote.address import Token

        token = Token.in_file(token_file)
    return destination_for(run_id, problems, to=to, token=token, opener=opener)
