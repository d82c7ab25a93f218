"""`daglens record` and `daglens run start`: names that are none, empty variables, Ctrl-C while they load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.cli.conftest import Command

LONG = "x" * 4096


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--pipeline", ""), "The pipeline name is empty."),
        (("--pipeline", LONG), "The pipeline name has 4096 characters"),
        (("--pipeline", "p", "--run-id", ""), "The run id is empty."),
        (("--pipeline", "p", "--run-id", LONG), "The run id has 4096 characters"),
        (("--run", ""), "The run id is empty."),
    ],
)
def test_names_that_are_none(command: Command, options: tuple[str, ...], what: str) -> None:
    """A name that can't be stored is wrong usage, said in one line: the command isn't run, nothing is recorded."""
    answer = command("record", *options, "--step", "s", "--", "echo", "ran")
    assert (answer.code, answer.out) == (2, "")
    assert what in answer.err
    assert answer.err.count("\n") == 1
    assert command("runs", "list", "--json").out == ""


def test_run_start_with_an_empty_id(command: Command) -> None:
    """An empty --run-id, from a variable that is not set, is refused instead of replaced."""
    answer = command("run", "start", "--pipeline", "p", "--run-id", "")
    assert (answer.code, answer.out) == (2, "")
    assert "The run id is empty." in answer.err


def test_an_empty_variable_is_unset(command: Command) -> None:
    """$DAGLENS_RUN_ID set to nothing joins no run: a run is begun, or it is said that one is needed."""
    command.env["DAGLENS_RUN_ID"] = ""
    assert command("record", "--pipeline", "p", "--step", "s", "--", "true").code == 0
    assert [run["status"] for run in command("runs", "list", "--json").objects] == ["SUCCESS"]
    answer = command("record", "--step", "s", "--", "true")
    assert answer.code == 2
    assert "--run to" in answer.err


def test_a_run_that_has_not_begun(command: Command) -> None:
    """A step of a run that nobody has begun, as after a typing error, says so; it is there once the run begins."""
    answer = command("record", "--run", "r1", "--step", "s", "--", "echo", "ran")
    assert (answer.code, answer.out) == (0, "ran\n")
    assert "There is no run r1 yet: is its id right?" in answer.err
    assert command("run", "start", "--pipeline", "p", "--run-id", "r1").code == 0
    (told,) = command("runs", "show", "r1", "--json").objects
    assert [(step["stepKey"], step["status"]) for step in told["stepStats"]] == [("s", "SUCCESS")]
    assert command("record", "--run", "r1", "--step", "t", "--", "true").err == ""


def test_ctrl_c_while_modules_load(command: Command) -> None:
    """Ctrl-C before the command has begun ends it without a traceback, as a signal ends any program."""
    code = """
        import os, signal, sys

        class Interrupting:
            def find_spec(self, name, path=None, target=None):
                if name == "daglens.cli.runs":
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting())
        sys.argv = ["daglens", "runs", "list"]
        from daglens.cli import main
        main()
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=command.env, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.returncode == -signal.SIGINT


def test_ignored_ctrl_c_stays_ignored(command: Command) -> None:
    """Started in the background of a script, where Ctrl-C is ignored, the command ignores it while it loads, too."""
    program = command.start("runs", "list", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    os.kill(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, out + err
