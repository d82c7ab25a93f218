"""`daglens record` and `daglens run`: the commands that scripts call for each step, parsed by argparse.

The other commands are parsed by typer, whose import and that of the pydantic below it take 110 ms, half of what
`daglens record` added to a command (benchmarks/start_up.py); argparse takes 10.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from daglens.cli import record, run_commands
from daglens.cli.script_options import HelpFormatter

NAMES: Final = {
    "record": "Run a command as a step, and record what it prints and how it ends.",
    "run": "Begin and end a run whose steps are recorded by `daglens record --run`.",
}


def run(arguments: Sequence[str]) -> None:
    """Carry out `daglens ARGUMENTS…`, of which the first is one of NAMES.

    Raises:
        SystemExit: With the code of the command that was recorded; 2 for wrong usage, after saying what is wrong.
    """
    parser = argparse.ArgumentParser(prog="daglens", formatter_class=HelpFormatter, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", prog="daglens")
    record.register(commands)
    run_commands.register(commands)
    parsed = parser.parse_args(arguments)
    parsed.carry_out(parsed)
