"""Steps in threads, in asyncio tasks, and in forked children."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from daglens.recorder import attach_run, current_run, current_step, start_run
from daglens.storage.records import PROCESS_STEP_KEY
from tests.recorder.conftest import Told


def test_threads(instance):
    """Steps at once in threads: each has its own prints; what they write below Python is in one log that says whose."""
    both = threading.Barrier(2)

    def work(name: str) -> None:
        step = current_step()
        assert step is not None
        assert step.key == name
        both.wait(30)
        print("print of", name)
        os.write(1, f"bytes of {name}\n".encode())
        step.materialize(name)
        both.wait(30)

    with start_run("p", instance=instance) as run, ThreadPoolExecutor() as pool:
        for future in [pool.submit(run.bind(run.call_step), name, work, name) for name in ("a", "b")]:
            future.result()
    told = Told(instance, run.run_id)
    assert [told.log(name) for name in ("a", "b")] == ["print of a\n", "print of b\n"]
    assert sorted(told.log(PROCESS_STEP_KEY).splitlines()) == ["bytes of a", "bytes of b"]
    shared = told.all("LOGS_CAPTURED", PROCESS_STEP_KEY)[-1]
    assert sorted(json.loads(shared.data)["stepKeys"]) == ["a", "b"]
    assert all(told.complete().values())
    assert {event.message for event in told.all("STEP_MATERIALIZATION", "a")} == {"Materialized a."}
    assert (told.step_status("a"), told.step_status("b"), told.status) == ("SUCCESS", "SUCCESS", "SUCCESS")


def test_a_thread_that_is_bound_belongs_to_the_step(instance):
    """`bind` makes a thread part of the step that is open; without it the thread belongs to none."""
    seen = {}

    def look(name: str) -> None:
        step, run = current_step(), current_run()
        seen[name] = (step and step.key, run and run.run_id)

    with start_run("p", instance=instance) as run, run.step("a"):
        for name, function in (("bound", run.bind(look)), ("free", look)):
            thread = threading.Thread(target=function, args=(name,))
            thread.start()
            thread.join()
    assert seen == {"bound": ("a", run.run_id), "free": (None, None)}


async def test_tasks(instance):
    """Steps at once in asyncio tasks, with `with` and with `async with`: each has its own prints."""

    async def with_sync(run, name):
        with run.step(name):
            for _ in range(3):
                print(name)
                await asyncio.sleep(0)

    async def with_async(run, name):
        async with run.step(name) as step:
            assert current_step() is step
            for _ in range(3):
                print(name)
                await asyncio.sleep(0)

    async with start_run("p", instance=instance) as run:
        await asyncio.gather(with_sync(run, "a"), with_async(run, "b"), with_async(run, "c"))
    told = Told(instance, run.run_id)
    assert [told.log(name) for name in "abc"] == ["a\n" * 3, "b\n" * 3, "c\n" * 3]
    assert told.status == "SUCCESS"


async def test_retries_of_coroutines(instance):
    """`acall_step` and `async for` try again; a decorator takes coroutine functions."""
    tried = []

    async def work(result):
        tried.append(1)
        if len(tried) == 1:
            raise OSError("once")
        return result

    async with start_run("p", instance=instance) as run:
        assert await run.acall_step("a", work, 7, retries=1) == 7
        async for attempt in run.attempts("b", retries=1):
            async with attempt as step:
                if step.attempt == 1:
                    raise OSError("once")

        @run.step("c")
        async def decorated(x):
            await asyncio.sleep(0)
            return x

        assert await decorated(3) == 3
    told = Told(instance, run.run_id)
    assert [told.step_status(key) for key in "abc"] == ["SUCCESS"] * 3
    assert len(told.all("STEP_UP_FOR_RETRY")) == 2


async def test_a_cancelled_task_cancels_its_run(instance):
    """Who cancels the task of a run cancels the run."""
    began = asyncio.Event()
    runs = []

    async def pipeline():
        async with start_run("p", instance=instance) as run:
            runs.append(run)
            with run.step("a"):
                began.set()
                await asyncio.sleep(3600)

    task = asyncio.create_task(pipeline())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    told = Told(instance, runs[0].run_id)
    assert (told.status, told.step_status("a")) == ("CANCELED", "FAILURE")


def test_a_forked_child_records_steps_of_its_own(program, local):
    """A forked child's steps and events reach the run at once; the run is ended by its parent alone."""
    done = program.run(
        """
        import os, sys
        import daglens.recorder as daglens
        with daglens.start_run("p") as run:
            with run.step("outer") as outer:
                pid = os.fork()
                if pid == 0:
                    outer.materialize("by the child")
                    with run.step("inner"):
                        print("from the child")
                    os._exit(0)
                os.waitpid(pid, 0)
                print("from the parent")
        print(run.run_id)
        """
    )
    assert done.returncode == 0, done.stderr
    told = Told(local, done.stdout.split()[-1])
    assert sorted(told.types) == sorted(
        ["RUN_START", "STEP_START", "STEP_MATERIALIZATION", "STEP_START", "STEP_SUCCESS", "STEP_SUCCESS", "RUN_SUCCESS"]
    )
    assert told.types[-1] == "RUN_SUCCESS"
    assert told.log("inner") == "from the child\n"
    assert told.log("outer") == "from the parent\n"
    assert done.stderr == ""


def test_a_forked_child_that_unwinds_ends_nothing(program, local):
    """A child that leaves the parent's blocks by an exception or sys.exit ends neither step nor run."""
    done = program.run(
        """
        import os, sys
        import daglens.recorder as daglens
        with daglens.start_run("p") as run:
            with run.step("a"):
                pid = os.fork()
                if pid == 0:
                    sys.exit(5)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
                print("still here")
        print(run.run_id)
        """
    )
    assert done.returncode == 0, done.stderr
    told = Told(local, done.stdout.split()[-1])
    assert told.types == ["RUN_START", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS"]
    assert told.log("a") == "still here\n"


def test_workers_of_multiprocessing(program, local):
    """Forked workers of a pool, which end without a word, lose no event; `terminate` still ends them."""
    done = program.run(
        """
        import multiprocessing
        import daglens.recorder as daglens

        def work(n):
            daglens.current_run().log.info("part %s", n)
            return n

        if __name__ == "__main__":
            with daglens.start_run("p") as run:
                with multiprocessing.get_context("fork").Pool(3) as pool:
                    assert sum(pool.map(work, range(30))) == 435
            print(run.run_id)
        """
    )
    assert done.returncode == 0, done.stderr
    told = Told(local, done.stdout.split()[-1])
    assert sorted(e.message for e in told.all("LOG_MESSAGE")) == sorted(f"part {n}" for n in range(30))
    assert "Traceback" not in done.stderr


def test_a_forked_child_of_a_run_in_memory(program):
    """A forked child can't reach its parent's memory: that is said, once."""
    done = program.run(
        """
        import os
        import daglens.recorder as daglens
        with daglens.start_run("p") as run:
            pid = os.fork()
            if pid == 0:
                run.log.info("1")
                run.log.info("2")
                os._exit(0)
            os.waitpid(pid, 0)
        """,
        env={"DAGSTER_HOME": ""},
    )
    assert done.returncode == 0
    assert done.stderr.count("forked process") == 1


def test_processes_join_a_run(program, local):
    """Processes of any kind join a run by its id, and each records its step."""
    done = program.run(
        """
        import subprocess, sys
        import daglens.recorder as daglens
        if len(sys.argv) > 1:
            with daglens.attach_run(sys.argv[1]) as run:
                with run.step("part " + sys.argv[2]) as step:
                    print("part", sys.argv[2])
            sys.exit()
        with daglens.start_run("p") as run:
            parts = [subprocess.Popen([sys.executable, __file__, run.run_id, str(n)]) for n in range(3)]
            assert [part.wait() for part in parts] == [0, 0, 0]
        print(run.run_id)
        """,
        env={"DAGLENS_INSTANCE_HOME": str(local.home)},
    )
    assert done.returncode == 0, done.stderr
    told = Told(local, done.stdout.split()[-1])
    assert told.types[0] == "RUN_START"
    assert told.types[-1] == "RUN_SUCCESS"
    assert [told.log(f"part {n}") for n in range(3)] == ["part 0\n", "part 1\n", "part 2\n"]


def test_attached_runs_share_no_context(instance):
    """Two parts of one run in one process are independent of each other."""
    with (
        start_run("p", instance=instance) as run,
        attach_run(run.run_id, instance=instance) as one,
        attach_run(run.run_id, instance=instance) as two,
    ):
        with one.step("a"):
            pass
        with two.step("a"):
            pass
    told = Told(instance, run.run_id)
    assert told.types == [
        "RUN_START",
        "STEP_START",
        "STEP_SUCCESS",
        "STEP_RESTARTED",
        "STEP_SUCCESS",
        "RUN_SUCCESS",
    ]
