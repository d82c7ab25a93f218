"""What interrupts a pipeline, at every line at which it may come: the wait of `pause`, and the end of a run."""

# ruff: noqa: PT012 -- the block of the run, as a pipeline has it, is what must raise

from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.recorder import Run, interrupt, pulse, recording, run, start_run, step
from tests.recorder.conftest import Told, finished, runs_of

ENDS = frozenset(module.__file__ for module in (interrupt, pulse, recording, run, step))


@contextmanager
def ctrl_c_at(line: int, *, files: frozenset[str | None] = ENDS, within: str) -> Iterator[Callable[[], bool]]:
    """Ctrl-C when so many lines of these files were reached within a function; whether they were."""
    left, inside = line, 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left, inside
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if file in files and name == within:
            inside += {"call": 1, "return": -1}.get(event, 0)
        # Python hears a signal after a call, never between the end of a block and the release of its lock, which are
        # both told as the line of the `with`.
        is_with = linecache.getline(file, frame.f_lineno).lstrip().startswith("with ")
        if event == "line" and inside and file in files and not is_with:
            left -= 1
            if left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: left <= 0
    finally:
        sys.settrace(before)


@pytest.fixture
def instance() -> Iterator[Instance]:
    """In memory: every line is a run."""
    with Instance.ephemeral() as opened:
        yield opened


def end(recorded: Run, line: int, within: str = "__exit__") -> bool:
    """End a run, with a Ctrl-C at this line of it; False where it has no such line."""
    with pytest.MonkeyPatch.context() as patch, ctrl_c_at(line, within=within) as came:
        patch.setattr(run, "END_WAIT_S", 60.0)
        try:
            with recorded:
                pass
        except KeyboardInterrupt:
            assert came()
    return came()


def test_ctrl_c_at_any_line_of_a_run_s_end(instance: Instance) -> None:
    """The run's end is told, once, and nothing of its recording goes on."""
    before = signal.getsignal(signal.SIGTERM)
    line = first = 2  # before its `try` the run has not begun to end: the end of the program tells it
    while end(start_run("p", instance=instance), line):
        line += 1
    assert line > 40, "the end has that many lines"
    told = runs_of(instance)
    assert len(told) == line - first + 1
    for number, one in enumerate(told, first):
        assert one.types[-1] in ("RUN_SUCCESS", "RUN_CANCELED"), f"Ctrl-C at line {number}"
        assert len(one.types) == 2, f"Ctrl-C at line {number}"
    assert not interrupt._sigterm._open and signal.getsignal(signal.SIGTERM) == before


WAITING = """
import signal, sys
import daglens

signal.alarm(60)  # who waits for ever ends by it

def is_ended_at(line):
    left = line
    def trace(frame, event, arg):
        nonlocal left
        left -= event == "line"
        if left == 0:
            left = -1
            sys.settrace(None)
            signal.raise_signal(signal.SIGTERM)
        return trace
    try:
        with daglens.start_run("p") as run:
            sys.settrace(trace)
            try:
                run.pause(0.001)
            finally:
                sys.settrace(None)
    except daglens.RunTerminated:
        return True
    return False

line = 1
while is_ended_at(line):
    line += 1
print("lines", line)
"""


def test_sigterm_at_any_line_of_a_pause(program, local) -> None:
    """The run is canceled and the program goes on to its end: it never waits for itself."""
    done = program.run(WAITING)
    assert (done.returncode, done.stderr) == (0, "")
    runs = runs_of(local)
    assert done.stdout == f"lines {len(runs)}\n" and len(runs) > 4
    assert [told.status for told in runs] == ["CANCELED"] * (len(runs) - 1) + ["SUCCESS"]


def test_a_request_reaches_a_pause_once(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is woken by the request itself is not interrupted a second time, while it ends its step."""
    is_set_first: list[bool] = []
    raise_in_main = interrupt._sigterm.raise_in_main

    def raised(thread_id: int) -> None:
        is_set_first.append(recorded._interrupter.asked.is_set())
        raise_in_main(thread_id)

    monkeypatch.setattr(interrupt._sigterm, "raise_in_main", raised)
    recorded = start_run("p", instance=instance)
    with pytest.raises(interrupt.RunTerminated), recorded, recorded.step("a"):
        threading.Thread(target=recorded._interrupter.interrupt).start()
        recorded.pause(60)
    assert is_set_first == [False]
    assert Told(instance, recorded.run_id).types[-2:] == ["STEP_FAILURE", "RUN_CANCELED"]


def test_a_request_that_the_thread_itself_delivers(instance: Instance) -> None:
    """It is raised once: in a forked child, say, which hears of it from each event that it stores."""
    recorded = start_run("p", instance=instance)
    child = os.fork()
    if child == 0:
        came = 0
        for _ in range(3):
            try:
                recorded._interrupter.interrupt()
            except KeyboardInterrupt:
                came += 1
        os._exit(came)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    recorded.finish()


def test_ctrl_c_at_the_end_of_a_forked_child(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose storage hangs: one is enough, since only the parent's end is to be told all the same."""
    recorded = start_run("p", instance=instance)
    flushes = 0

    def flush() -> None:
        nonlocal flushes
        flushes += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(recorded._recording, "flush", flush)
    monkeypatch.setattr(recorded, "_pid", 0)
    with pytest.raises(KeyboardInterrupt), recorded:
        pass
    assert flushes == 1
    monkeypatch.undo()
    recorded.finish()


EXITING = """
import os, signal, sys, time
import daglens
import daglens.recorder.run

signal.alarm(60)  # who waits on ends by it
daglens.recorder.run.END_WAIT_S = 3600.0
run = daglens.start_run("p")
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
writer = run._recording._writer
writer._urgent = 0

def hang(drafts):
    while not writer._urgent:  # until the end waits
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3600)

writer._send = hang
run.finish()
"""


def test_a_handler_that_exits_while_the_end_waits(program, local) -> None:
    """A program's own handler of SIGTERM, which exits, ends the wait for a storage that hangs, as Ctrl-C does."""
    assert program.run(EXITING).returncode == 143


HANDLED = """
import signal
import daglens

signal.alarm(60)  # who waits for ever ends by it
run = daglens.start_run("p", run_id="r")
signal.signal(signal.SIGUSR1, lambda number, frame: run.finish("canceled"))
run._recording._is_new = False  # the storage is asked for earlier attempts, and takes its time
run._recording._attempts_in_log = lambda key: signal.raise_signal(signal.SIGUSR1) or 0
with run.step("a"):
    pass
"""


def test_a_handler_that_ends_the_run_while_a_step_begins(program, local) -> None:
    """A program's own handler of a signal may call `finish` there, too: it doesn't wait for its own thread."""
    assert program.run(HANDLED).returncode == 0
    assert Told(local, "r").status == "CANCELED"


def test_a_fork_while_a_request_is_on_its_way(instance: Instance) -> None:
    """A forked child, in which nobody delivers it, doesn't wait for that for ever."""
    recorded = start_run("p", instance=instance)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with recorded._interrupter._lock:  # type: ignore[attr-defined]
            held.set()
            assert let_go.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        recorded._interrupter.disarm()
        os._exit(0)
    let_go.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    recorded.finish()


PROFILED = """
import sys, threading
from daglens.recorder.interrupt import Interrupter, RunTerminated

def work():
    interrupter = Interrupter()
    interrupter.arm()
    asking = threading.Thread(target=interrupter.interrupt)
    try:
        asking.start()
        asking.join()
        interrupter.asked.wait(60)
        interrupter.disarm()
    except RunTerminated:
        interrupter.disarm()
    for _ in range(1000):
        pass

thread = threading.Thread(target=work)
thread.start()
thread.join()
calls = []
sys.setprofile(lambda frame, what, argument: calls.append(what))
(lambda: None)()
sys.setprofile(None)
print("profiled", "call" in calls)
"""


def test_a_profiler_after_a_termination(program) -> None:
    """Once a run that was asked to end in a thread has ended, profilers and debuggers work, and nothing is raised any
    more."""
    child = program.start(PROFILED)
    done = finished(child)
    assert (done.returncode, done.stdout, done.stderr) == (0, "profiled True\n", "")
