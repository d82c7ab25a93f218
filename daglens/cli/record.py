"""`daglens record`: a command as a step of a run."""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER, ArgumentParser, BooleanOptionalAction, Namespace
from functools import partial
from pathlib import Path

from daglens.cli.script_options import Commands, add_place, add_tags, command_parser, destination_of


def register(commands: Commands[ArgumentParser]) -> None:
    """Add `record` to the commands."""
    parser = command_parser(
        commands,
        "record",
        "Run a command as a step, and record what it prints and how it ends.",
        """
        Run a command as a step, and record what it prints and how it ends.

        Its exit code and signals pass through, whatever happens to the recording. With --pipeline it is a run of its
        own; with --run, or $DAGLENS_RUN_ID, a step of that run.
        """,
    )
    parser.usage = "daglens record [OPTIONS] --step KEY -- COMMAND…"
    parser.add_argument("--step", metavar="KEY", required=True, help="Step key of the command.")
    parser.add_argument("--pipeline", metavar="NAME", help="Begin a run of this pipeline.")
    parser.add_argument("--run", metavar="ID", help="Join this run instead of beginning one. Also by $DAGLENS_RUN_ID.")
    parser.add_argument("--run-id", metavar="ID", help="Id of the run that begins; by default a UUID.")
    add_tags(parser)
    parser.add_argument(
        "--capture", action=BooleanOptionalAction, default=True, help="Keep the command's stdout and stderr."
    )
    add_place(parser)
    # What follows the command's name is the command's, also without a `--` in front of it.
    parser.add_argument("command", metavar="COMMAND", nargs=REMAINDER, help="The command and its arguments.")
    parser.set_defaults(carry_out=partial(_record, parser))


def _record(parser: ArgumentParser, given: Namespace) -> None:
    from daglens.recorder.command import ChildCommand, record_command
    from daglens.recorder.destination import HOME_VARIABLE
    from daglens.recorder.problems import Problems
    from daglens.recorder.run import Run
    from daglens.recorder.start import RUN_ID_VARIABLE, record_new_run, record_part, storable_tags
    from daglens.storage.names import check_name
    from daglens.storage.random_ids import random_uuid
    from daglens.storage.records import NewRun

    command: list[str] = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("which command? It comes last: daglens record … -- COMMAND")
    joined: str | None = given.run if given.run is not None else os.environ.get(RUN_ID_VARIABLE) or None
    pipeline: str | None = given.pipeline
    if joined is None and pipeline is None:
        parser.error("argument --pipeline: give --pipeline to begin a run, or --run to join one")
    if joined is not None and (given.tag or given.run_id is not None):
        parser.error("--tag and --run-id are for a run that begins here; this one is joined")
    home: Path | None = given.instance_home
    if home is None and given.to is None and joined is not None and (named := os.environ.get(HOME_VARIABLE)):
        home = Path(named)
    chosen: str = given.run_id if given.run_id is not None else random_uuid()
    recorded = check_name(chosen if joined is None else joined, "run id")
    if pipeline is not None:
        check_name(pipeline, "pipeline name")
    problems = Problems()
    destination = destination_of(parser, recorded, problems, home, given.to, given.token_file)

    def begin(child: ChildCommand) -> Run:
        if joined is not None:
            return record_part(joined, destination, problems, capture=given.capture, interruptible=child)
        assert pipeline is not None
        new = NewRun(chosen, pipeline, tags=storable_tags(dict(given.tag), problems))
        return record_new_run(new, destination, problems, capture=given.capture, interruptible=child)

    sys.exit(record_command(command, given.step, begin))
