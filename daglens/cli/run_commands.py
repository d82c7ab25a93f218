"""`daglens run start|finish`: a run whose steps are commands of a shell script."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from functools import partial

from daglens.cli.script_options import Commands, add_place, add_tags, command_parser, destination_of

SHORTEST_TIMEOUT_S = 3


def register(commands: Commands[ArgumentParser]) -> None:
    """Add `run start` and `run finish` to the commands."""
    about = "Begin and end a run whose steps are recorded by `daglens record --run`."
    parts = command_parser(commands, "run", about, about).add_subparsers(
        required=True, metavar="start|finish", prog="daglens run"
    )
    _register_start(parts)
    _register_finish(parts)


def _register_start(parts: Commands[ArgumentParser]) -> None:
    parser = command_parser(
        parts,
        "start",
        "Begin a run and print its id.",
        """
        Begin a run and print its id: export DAGLENS_RUN_ID=$(daglens run start --pipeline nightly)

        The id is printed even when the run can't be recorded now (that is said on stderr), so that a script goes on.
        """,
    )
    parser.add_argument("--pipeline", metavar="NAME", required=True, help="Name of the pipeline.")
    parser.add_argument("--run-id", metavar="ID", help="By default a UUID.")
    add_tags(parser)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_timeout_s,
        help="Presume the run dead after so long without a sign of life: longer than any pause between its steps. By "
        "default never.",
    )
    add_place(parser)
    parser.set_defaults(carry_out=partial(_start, parser))


def _timeout_s(given: str) -> int:
    try:
        seconds = int(given)
    except ValueError:
        raise ArgumentTypeError(f"{given!r} is no whole number of seconds") from None
    if seconds < SHORTEST_TIMEOUT_S:
        raise ArgumentTypeError(f"{seconds} s is less than the {SHORTEST_TIMEOUT_S} s that a sign of life may take")
    return seconds


def _start(parser: ArgumentParser, given: Namespace) -> None:
    from daglens.recorder.problems import Problems, note
    from daglens.recorder.shell_runs import start_shell_run
    from daglens.recorder.start import storable_tags
    from daglens.storage.names import check_name
    from daglens.storage.random_ids import random_uuid
    from daglens.storage.records import NewRun

    chosen = check_name(given.run_id if given.run_id is not None else random_uuid(), "run id")
    problems = Problems()
    destination = destination_of(parser, chosen, problems, given.instance_home, given.to, given.token_file)
    run = NewRun(chosen, check_name(given.pipeline, "pipeline name"), tags=storable_tags(dict(given.tag), problems))
    print(chosen, flush=True)
    try:
        with problems.waiting():
            start_shell_run(destination, run, given.timeout)
    except Exception as error:
        note(f"The run is not recorded. {error}")
    finally:
        destination.close()


def _register_finish(parts: Commands[ArgumentParser]) -> None:
    parser = command_parser(parts, "finish", "End a run.", "End a run. Safe to repeat: the first end counts.")
    parser.add_argument("run_id", metavar="RUN", nargs="?", help="Run id; by default $DAGLENS_RUN_ID.")
    parser.add_argument("--run", dest="run_option", metavar="ID", help="The same, as `daglens record` takes it.")
    parser.add_argument("--status", choices=("success", "failure", "canceled"), default="success", help="How it ended.")
    parser.add_argument("--message", metavar="TEXT", help="Why it failed or was canceled.")
    add_place(parser)
    parser.set_defaults(carry_out=partial(_finish, parser))


def _finish(parser: ArgumentParser, given: Namespace) -> None:
    from daglens.recorder.problems import Problems
    from daglens.recorder.shell_runs import finish_shell_run
    from daglens.recorder.start import RUN_ID_VARIABLE
    from daglens.storage.names import check_name

    if given.run_id is not None and given.run_option is not None:
        parser.error("name the run once: as RUN, or by --run")
    named = given.run_id if given.run_id is not None else given.run_option
    run_id = named if named is not None else os.environ.get(RUN_ID_VARIABLE) or None
    if run_id is None:
        parser.error("which run? Name it, or set $DAGLENS_RUN_ID")
    problems = Problems()
    destination = destination_of(
        parser, check_name(run_id, "run id"), problems, given.instance_home, given.to, given.token_file
    )
    try:
        with problems.waiting():
            finish_shell_run(destination, run_id, given.status, given.message)
    finally:
        destination.close()
