"""`kill -9` of a program that records, and of what it runs."""

from __future__ import annotations

import os
import signal

import pytest

from daglens.recorder import start_run
from daglens.storage.records import EventDraft
from daglens.upkeep import PRESUMED_EVENT_ID, reap
from tests.recorder.conftest import Told, finished, only_run, until


@pytest.mark.fault("kill_recorder")
def test_what_was_stored_and_printed_stays(program, local):
    """A killed recorder: events it had flushed are there, in order and dense, and what the step printed is in its
    log; the run is presumed dead once it is silent beyond its timeout."""
    ready, ready_for_child = os.pipe()
    child = program.start(
        """
        import os, subprocess, sys, time
        import daglens.recorder as daglens
        with daglens.start_run("p", heartbeat_timeout_s=3) as run:
            with run.step("a") as step:
                for n in range(50):
                    step.log.info("message %d", n)
                    print("line", n)
                os.write(1, b"bytes\\n")
                subprocess.run(["sh", "-c", "echo child"])
                assert run.flush()
                print("last words", file=sys.stderr)
                os.write(int(os.environ["READY_FD"]), b"ready")
                while True:
                    step.log.info("more")
                    time.sleep(0.001)
        """,
        env={"READY_FD": str(ready_for_child)},
        pass_fds=(ready_for_child,),
    )
    os.close(ready_for_child)
    assert os.read(ready, 5) == b"ready", finished(child).stderr
    os.close(ready)
    child.send_signal(signal.SIGKILL)
    finished(child)
    told = only_run(local)
    assert [e.message for e in told.all("LOG_MESSAGE")][:50] == [f"message {n}" for n in range(50)]
    assert [e.seq for e in told.events] == list(range(1, len(told.events) + 1))
    assert told.log("a") == "".join(f"line {n}\n" for n in range(50)) + "bytes\nchild\n"
    assert told.err("a") == "last words\n"
    assert told.status == "STARTED"
    assert until(lambda: reap(local), "presumed failure") == [told.run_id]
    assert told.status == "FAILURE"
    assert told.data("RUN_FAILURE")["presumed"] is True


def test_an_isolated_child_ends_with_its_parent(program, local, tmp_path):
    """When the recorder is killed, the child of an isolated step doesn't run on."""
    child = program.start(
        """
        import sys
        import daglens.recorder as daglens
        from tests.recorder import isolated_work as work
        if __name__ == "__main__":
            with daglens.start_run("p") as run:
                run.call_step("a", work.wait_for_ever, sys.argv[1], isolate=True)
        """,
        str(tmp_path),
    )
    until(lambda: (tmp_path / "pids").exists(), "child")
    child.send_signal(signal.SIGKILL)
    child.wait()
    step_pid, grandchild = (int(pid) for pid in (tmp_path / "pids").read_text().split())
    until(lambda: not os.path.exists(f"/proc/{step_pid}"), "end of the step's process")
    os.kill(grandchild, signal.SIGKILL)
    assert only_run(local).log("a") == "waiting\n"


def test_a_recorder_that_comes_back_replaces_the_presumed_end(instance):
    """A run that was presumed dead and ends after all has the end that its recorder tells."""
    with start_run("p", instance=instance) as run:
        presumed = EventDraft("RUN_FAILURE", data={"presumed": True}, event_id=PRESUMED_EVENT_ID)
        instance.append(run.run_id, [presumed], heard=False)
        assert Told(instance, run.run_id).status == "FAILURE"
    assert Told(instance, run.run_id).status == "SUCCESS"
