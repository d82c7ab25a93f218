"""`daglens runs terminate`: the end of a run is asked for, as by terminateRun, and waited for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, NewRun
from tests.cli.conftest import Command

RECORDS = """
import sys, time, daglens
with daglens.start_run("nightly", run_id="working") as run, run.step("extract"):
    sys.__stdout__.write("begun\\n"); sys.__stdout__.flush()
    time.sleep(3600)
"""


@pytest.fixture
def recorder(command: Command) -> Iterator[subprocess.Popen[str]]:
    """A program that records the run `working`, and sleeps in its step."""
    with subprocess.Popen(
        [sys.executable, "-c", RECORDS],
        env=command.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        yield program
        program.kill()


def test_a_recorder_is_stopped_and_waited_for(command: Command, recorder: subprocess.Popen[str]) -> None:
    """With --wait the command ends when the run has: CANCELED by its recorder, whose program ends."""
    answer = command("runs", "terminate", "working", "--wait", "--json")
    assert (answer.code, answer.objects) == (0, [{"runId": "working", "status": "CANCELED"}]), answer.err
    recorder.wait(60)
    shown = json.loads(command("runs", "show", "working", "--json").out)
    assert (shown["status"], shown["stepStats"][0]["status"]) == ("CANCELED", "FAILURE")


def test_a_run_that_nobody_records_is_canceled_at_once(command: Command) -> None:
    """And that is said. A second time there is nothing to end: one sentence, exit code 1."""
    with Instance.open(home=command.home) as instance:
        instance.create_run(NewRun("queued", "p"))
    answer = command("runs", "terminate", "last")
    assert (answer.code, answer.out) == (0, "queued: CANCELED at once, as nobody records it\n")
    again = command("runs", "terminate", "queued", "--wait")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("daglens: The run has ended already;") and again.err.count("\n") == 1


def test_a_recorder_that_does_not_listen(filled: Command) -> None:
    """The request is stored once, however often it is made; --timeout bounds the wait, and says that it is over."""
    assert filled("runs", "terminate", "open").out == "open: CANCELING: its recorder is asked to stop it\n"
    answer = filled("runs", "terminate", "open", "--timeout", "0.1")
    assert answer.code == 1
    assert answer.out == "open: CANCELING: its recorder is asked to stop it\n"
    assert "has not ended within 0.1 s" in answer.err
    with Instance.open(home=filled.home) as instance:
        instance.append("open", [EventDraft(et.RUN_SUCCESS)])
    kinds = [event["eventType"] for event in filled("events", "open", "--json").objects]
    assert kinds.count("RUN_CANCELING") == 1


def test_a_recorder_that_dies_while_it_is_waited_for(filled: Command) -> None:
    """Its silence is noticed by the command itself, without any server: the run is canceled."""
    with Instance.open(home=filled.home) as instance:
        instance.heartbeat("open", 1)
    answer = filled("runs", "terminate", "open", "--timeout", "60", "--json")
    assert (answer.code, answer.objects) == (0, [{"runId": "open", "status": "CANCELED"}]), answer.err


def test_an_unknown_run(command: Command) -> None:
    """Is said in one sentence, as by the other commands."""
    answer = command("runs", "terminate", "nope")
    assert answer.code == 1 and answer.err.startswith("daglens: There is no such run. Run id: nope.")


def test_help(command: Command) -> None:
    """The command is listed, and says how it ends."""
    assert "terminate" in command("runs", "--help").out
    told = command("runs", "terminate", "--help").out
    assert "--wait" in told and "--timeout" in told and "Exit code 1" in told
