"""Ctrl-C while a recorder waits for its server: the wait ends, and what is left is said. All as programs."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.recorder.remote.flush import waiting
from daglens.recorder.remote.spool_folder import SpoolFolder
from tests.recorder.conftest import Program, finished, only_run, until
from tests.recorder.remote.gate import Answer, Gate, Lost, Request

WAITS_LONG = {"DAGLENS_FINISH_WAIT_S": "3600"}


@pytest.fixture
def env(spool: SpoolFolder) -> dict[str, str]:
    """Of programs that would wait for their server for an hour."""
    return {"DAGLENS_SPOOL": str(spool.path)} | WAITS_LONG


def until_recorded(spool: SpoolFolder, event_type: str) -> None:
    """Wait until such an event is in the spool."""
    mark = b'"eventType":"%s"' % event_type.encode()
    until(lambda: any(mark in path.read_bytes() for path in spool.runs.rglob("events-*")), event_type)


def recording(program: Program, gate: Gate, env: dict[str, str], script: str) -> Any:
    """A `daglens record --to` of a shell script."""
    command = ("record", "--pipeline", "p", "--step", "a", "--to", gate.url, "--", "sh", "-c", script)
    return program.daglens(*command, env=env)


def flushed(program: Program, env: dict[str, str], gate: Gate) -> None:
    """Send what waits by the command that was named."""
    done = program.run_daglens("recorder", "flush", "--to", gate.url, env=env)
    assert (done.returncode, done.stdout.count("sent")) == (0, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_record(
    instance: Instance, gate: Gate, spool: SpoolFolder, program: Program, env: dict[str, str], number: int
) -> None:
    """`record` ends at once, with the command's exit code; one sentence says how much waits, and how it is sent."""
    gate.fall()
    child = recording(program, gate, env, "echo out; exit 7")
    until_recorded(spool, "RUN_FAILURE")
    child.send_signal(number)
    done = finished(child)
    assert (done.returncode, done.stdout) == (7, "out\n")
    (left,) = waiting(spool)
    assert not left.recording
    away, rest = done.stderr.splitlines()
    assert "What is recorded waits in" in away
    assert rest.startswith(f"daglens: {left.events} events and 4 bytes of output of run {left.run_id} are not sent yet")
    assert rest.endswith(f"daglens recorder flush --to {gate.url}")
    gate.raise_()
    flushed(program, env, gate)
    told = only_run(instance)
    assert (told.status, told.log("a")) == ("FAILURE", "out\n")


def test_a_server_that_takes_a_request_and_says_nothing(
    gate: Gate, spool: SpoolFolder, program: Program, env: dict[str, str]
) -> None:
    """So it is when the server is there and doesn't answer."""
    held = threading.Event()

    def behave(request: Request) -> Answer:
        if request.field == "reportEvents" and "RUN_SUCCESS" in request.body.decode():
            held.set()
            released.wait(60)
            raise Lost
        return request.forward()

    released = threading.Event()
    gate.behave = behave
    try:
        child = recording(program, gate, env, "echo out")
        assert held.wait(60)
        child.send_signal(signal.SIGINT)
        done = finished(child)
    finally:
        released.set()
    assert (done.returncode, done.stdout) == (0, "out\n")
    assert done.stderr.count("daglens: ") == 1 and "are not sent yet" in done.stderr
    assert len(list(waiting(spool))) == 1


def test_the_first_one_is_the_command_s(
    instance: Instance, gate: Gate, spool: SpoolFolder, program: Program, env: dict[str, str]
) -> None:
    """Ctrl-C while the command runs ends the command, not the wait; the next one ends the wait."""
    gate.fall()
    child = recording(program, gate, env, "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done")
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    until_recorded(spool, "RUN_CANCELED")
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    done = finished(child)
    assert done.returncode == 9
    assert done.stderr.count("are not sent yet") == 1 and "Traceback" not in done.stderr
    gate.raise_()
    flushed(program, env, gate)
    assert only_run(instance).status == "CANCELED"


# The wait says when it has begun.
HEAD = """
import sys
import daglens
from daglens.recorder.remote import sender

wait = sender.Sender.finish

def finish(self, *seconds):
    print("waiting", flush=True)
    return wait(self, *seconds)

sender.Sender.finish = finish
"""
ENDINGS = {
    "well": ("pass", -signal.SIGINT),
    "with an exit code": ("sys.exit(5)", 5),
    "with a Ctrl-C before": ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
}


@pytest.mark.parametrize(("end", "code"), ENDINGS.values(), ids=ENDINGS.keys())
def test_a_python_program(
    gate: Gate, spool: SpoolFolder, program: Program, env: dict[str, str], end: str, code: int
) -> None:
    """The end of a `with` block stops waiting and says what is left; then Ctrl-C goes on to the program, unless the
    program ends anyway, by an exit code or an earlier Ctrl-C."""
    gate.fall()
    source = f"{HEAD}import signal\nwith daglens.start_run('p', to=sys.argv[1]) as run:\n    {end}\nprint('goes on')\n"
    child = program.start(source, gate.url, env=env)
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    done = finished(child)
    assert (done.returncode, done.stdout) == (code, "waiting\n")
    assert done.stderr.count("2 events and 0 bytes of output") == 1
    assert f"daglens recorder flush --to {gate.url}" in done.stderr
    assert "another exception occurred" not in done.stderr
    assert len(list(waiting(spool))) == 1


def test_a_program_that_forgets_to_finish(
    gate: Gate, spool: SpoolFolder, program: Program, env: dict[str, str]
) -> None:
    """Where the end of the program waits, Ctrl-C ends that without a traceback."""
    gate.fall()
    child = program.start(f"{HEAD}run = daglens.start_run('p', to=sys.argv[1])\n", gate.url, env=env)
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    done = finished(child)
    assert done.returncode == 0
    assert done.stderr.count("are not sent yet") == 1 and "Traceback" not in done.stderr


def test_an_asyncio_program(gate: Gate, spool: SpoolFolder, program: Program, env: dict[str, str]) -> None:
    """An asynchronous block stops waiting, too: nothing holds up the end of the loop."""
    gate.fall()
    source = f"""{HEAD}
import asyncio

async def main():
    async with daglens.start_run("p", to=sys.argv[1]):
        pass

asyncio.run(main())
"""
    child = program.start(source, gate.url, env=env)
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    done = finished(child)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.count("are not sent yet") == 1
