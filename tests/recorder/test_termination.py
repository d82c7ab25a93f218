"""A request to end a run reaches the code that runs it, wherever that is."""

# ruff: noqa: PT012 -- the block of the run, as a pipeline has it, is what must raise

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from daglens.instance import Instance
from daglens.recorder import RunTerminated, start_run
from daglens.recorder.processes import descendants, end_group
from daglens.storage.records import EventDraft, NewRun
from tests.recorder import isolated_work as work
from tests.recorder.conftest import Told, finished, only_run, until

LONG_S = 3600


def ask_to_end(instance: Instance, run_id: str) -> None:
    """What terminateRun does."""
    instance.append(run_id, [EventDraft("RUN_CANCELING")], heard=False)


def ask_soon(instance: Instance, run_id: str, *, after: Path | None = None) -> threading.Thread:
    """The same, from another thread, once a file is there."""

    def ask() -> None:
        if after is not None:
            until(after.exists, str(after))
        ask_to_end(instance, run_id)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def is_gone(pid: int) -> bool:
    """True for a process that has ended, a zombie too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_the_main_thread_is_interrupted(instance):
    """The block of a run in the main thread gets RunTerminated, out of a sleep too: CANCELED, signals as before."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunTerminated), start_run("p", instance=instance) as run, run.step("a"):
        ask_soon(instance, run.run_id)
        time.sleep(LONG_S)
    told = Told(instance, run.run_id)
    assert (told.status, told.types[-2:]) == ("CANCELED", ["STEP_FAILURE", "RUN_CANCELED"])
    assert signal.getsignal(signal.SIGTERM) == before


SHELL = "sleep 3600 & echo $! > $1.part; mv $1.part $1; wait"


def test_what_a_command_has_started_is_ended_too(instance, tmp_path):
    """A step that waits for a shell: the shell is killed, and so is what it has started; other children stay, with
    theirs."""
    mine, others = tmp_path / "mine", tmp_path / "others"
    with subprocess.Popen(["sh", "-c", SHELL, "sh", others], start_new_session=True) as staying:
        try:
            until(others.exists, "the other child")
            with pytest.raises(RunTerminated), start_run("p", instance=instance) as run, run.step("a"):
                ask_soon(instance, run.run_id, after=mine)
                subprocess.run(["sh", "-c", SHELL, "sh", mine], check=True)
            assert is_gone(int(mine.read_text()))
            assert not is_gone(int(others.read_text()))
            assert staying.poll() is None
        finally:
            os.killpg(staying.pid, signal.SIGKILL)
    assert Told(instance, run.run_id).status == "CANCELED"


def test_the_next_append_tells(instance):
    """The request is heard with the answer to the next append, without waiting for a look."""
    with pytest.raises(RunTerminated), start_run("p", instance=instance) as run:
        run._recording.stop_pulse()
        ask_to_end(instance, run.run_id)
        run.log.info("anything")
        time.sleep(LONG_S)
    assert Told(instance, run.run_id).status == "CANCELED"


def test_another_thread_is_interrupted(instance):
    """A run that was started in another thread ends there, out of `pause` at once."""
    outcome: list[object] = []

    def pipeline() -> None:
        try:
            with start_run("p", instance=instance) as run:
                outcome.append(run.run_id)
                ask_to_end(instance, run.run_id)
                run.pause(LONG_S)
        except BaseException as error:
            outcome.append(type(error))

    thread = threading.Thread(target=pipeline)
    thread.start()
    thread.join(60)
    assert outcome[1] is RunTerminated
    assert Told(instance, str(outcome[0])).status == "CANCELED"


def test_a_busy_thread_is_interrupted(instance):
    """So is one that computes."""
    outcome: list[object] = []

    def pipeline() -> None:
        try:
            with start_run("p", instance=instance) as run:
                outcome.append(run.run_id)
                ask_to_end(instance, run.run_id)
                while True:
                    sum(range(1000))
        except BaseException as error:
            outcome.append(type(error))

    thread = threading.Thread(target=pipeline)
    thread.start()
    thread.join(60)
    assert outcome[1] is RunTerminated
    assert Told(instance, str(outcome[0])).status == "CANCELED"


async def test_a_task_is_cancelled(instance):
    """A run in an asyncio task: that task is cancelled, the loop goes on."""
    runs = []

    async def pipeline():
        async with start_run("p", instance=instance) as run:
            runs.append(run)
            ask_to_end(instance, run.run_id)
            await asyncio.sleep(LONG_S)

    task = asyncio.create_task(pipeline())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert Told(instance, runs[0].run_id).status == "CANCELED"


def test_a_run_that_ignores_the_request_and_ends_well(instance):
    """Who finishes in spite of the request has finished."""
    with start_run("p", instance=instance) as run, contextlib.suppress(RunTerminated):
        ask_soon(instance, run.run_id)
        time.sleep(LONG_S)
    assert Told(instance, run.run_id).status == "SUCCESS"


def test_an_interruption_that_comes_out_as_something_else(instance):
    """A library that makes another exception of it: the run is canceled all the same."""
    with pytest.raises(OSError, match="broken"), start_run("p", instance=instance) as run:
        try:
            ask_soon(instance, run.run_id)
            time.sleep(LONG_S)
        except RunTerminated:
            raise OSError("broken") from None
    assert Told(instance, run.run_id).status == "CANCELED"


def test_a_request_before_the_start(instance):
    """A run that was asked to end before its recorder came is canceled, and does nothing."""
    instance.create_run(NewRun("r1", "p"))
    ask_to_end(instance, "r1")
    with pytest.raises(RunTerminated):
        start_run("p", run_id="r1", instance=instance)
    assert Told(instance, "r1").types == ["RUN_CANCELING", "RUN_START", "RUN_CANCELED"]


def test_a_run_that_was_canceled_before_is_recorded_again(instance):
    """A run that had ended as canceled doesn't interrupt who records it once more."""
    for status in ("canceled", "success"):
        run = start_run("p", run_id="r1", instance=instance)
        run.log.info("here")
        run.flush()
        run.finish(status)
    assert Told(instance, "r1").types[-1] == "RUN_SUCCESS"


@pytest.mark.parametrize("stubborn", [False, True])
def test_isolated_children_are_ended(instance, tmp_path, monkeypatch, stubborn):
    """The child of an isolated step ends, what it has started too, and if need be by force."""
    monkeypatch.setattr("daglens.recorder.isolate.GRACE_S", 0.5)
    with pytest.raises(RunTerminated), start_run("p", instance=instance) as run:
        asker = ask_soon(instance, run.run_id, after=tmp_path / "pids")
        run.call_step("a", work.wait_for_ever, str(tmp_path), stubborn=stubborn, isolate=True)
    asker.join()
    for pid in (tmp_path / "pids").read_text().split():
        until(partial(is_gone, int(pid)), f"end of {pid}")
    told = Told(instance, run.run_id)
    assert (told.status, told.step_status("a"), told.log("a")) == ("CANCELED", "FAILURE", "waiting\n")


def test_isolated_children_of_other_threads_are_ended(instance, tmp_path):
    """A pool whose threads wait for isolated steps doesn't hold up the end."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    with (
        pytest.raises(RunTerminated),
        start_run("p", instance=instance) as run,
        ThreadPoolExecutor(2) as pool,
    ):
        for name in ("1", "2"):
            pool.submit(run.call_step, name, work.wait_for_ever, str(tmp_path / name), isolate=True)
        for name in ("1", "2"):
            until((tmp_path / name / "pids").exists, "child")
        ask_soon(instance, run.run_id)
        time.sleep(LONG_S)
    told = Told(instance, run.run_id)
    assert (told.status, told.step_status("1"), told.step_status("2")) == ("CANCELED", "FAILURE", "FAILURE")


WAITING = """
import sys, time
import daglens.recorder as daglens
with daglens.start_run("p") as run:
    with run.step("a"):
        print("ready", run.run_id, flush=True)
        time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_cancel(program, local, number):
    """SIGTERM and Ctrl-C end a program that records; its run is canceled."""
    child = program.start(WAITING)
    assert child.stdout.readline().startswith("ready")
    child.send_signal(number)
    done = finished(child)
    assert done.returncode not in (0, None)
    told = only_run(local)
    assert (told.status, told.step_status("a")) == ("CANCELED", "FAILURE")
    assert all(told.complete().values())


def test_sigterm_on_an_instance_in_memory(program, tmp_path):
    """An ephemeral instance's folder is removed on SIGTERM as before."""
    child = program.start(WAITING, env={"DAGSTER_HOME": "", "TMPDIR": str(tmp_path)})
    assert child.stdout.readline().startswith("ready")
    assert list(tmp_path.glob("daglens-*"))
    child.send_signal(signal.SIGTERM)
    finished(child)
    assert not list(tmp_path.glob("daglens-*"))


def test_a_program_s_own_sigterm_handler_stays(program, local):
    """Who handles SIGTERM goes on handling it; a request to end the run arrives nevertheless."""
    child = program.start(
        """
        import os, signal, time
        import daglens.recorder as daglens
        signal.signal(signal.SIGTERM, lambda *args: os.write(1, b"mine\\n"))
        with daglens.start_run("p") as run:
            print("ready", run.run_id, flush=True)
            time.sleep(3600)
        """
    )
    run_id = child.stdout.readline().split()[1]
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "mine\n"
    ask_to_end(local, run_id)
    finished(child)
    assert Told(local, run_id).status == "CANCELED"


def test_sigterm_after_the_run(program):
    """After its runs a program ends by SIGTERM as ever."""
    child = program.start(
        """
        import time
        import daglens.recorder as daglens
        with daglens.start_run("p") as run:
            pass
        print("ready", flush=True)
        time.sleep(3600)
        """
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    assert finished(child).returncode == -signal.SIGTERM


def test_a_forked_child_ends_by_sigterm(program):
    """A forked child of a run isn't the run: SIGTERM ends it as ever, without a traceback."""
    done = program.run(
        """
        import os, signal, time
        import daglens.recorder as daglens
        with daglens.start_run("p") as run:
            pid = os.fork()
            if pid == 0:
                time.sleep(3600)
                os._exit(0)
            os.kill(pid, signal.SIGTERM)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")


@pytest.mark.parametrize(
    ("command", "grace_s"),
    [("timeout 600 sleep 600 & wait", 60.0), ("setsid sh -c 'trap \"\" TERM; sleep 600; sleep 600' & wait", 0.2)],
)
def test_a_group_is_ended_with_those_who_left_it(command, grace_s):
    """`timeout` in a script, or a new session: what a command started is ended with it, whatever group it is in."""
    import subprocess

    child = subprocess.Popen(["sh", "-c", command], process_group=0)
    until(lambda: len(descendants(child.pid)) == 2, "both run")
    started = descendants(child.pid)
    until(lambda: any(os.getpgid(one.pid) != child.pid for one in started), "one has left the group")
    try:
        end_group(child, grace_s)
        until(lambda: all(is_gone(one.pid) for one in started), "all have ended")
    finally:
        for one in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        child.wait()


def test_descendants():
    """Children and theirs are found, ended ones are not."""
    import subprocess

    child = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"])
    try:
        until(lambda: len(descendants(child.pid)) == 2, "two children")
        assert child.pid in [one.pid for one in descendants(os.getpid())]
    finally:
        for one in descendants(child.pid):
            os.kill(one.pid, signal.SIGKILL)
        child.wait()
