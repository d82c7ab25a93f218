"""terminateRun at a server stops what another process records on the same files, child processes too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from daglens.instance import Instance
from daglens.testing.server import serve_in_thread
from tests.api.mutations import TERMINATE
from tests.recorder.conftest import Program, Told, finished, only_run, runs_of, until
from tests.recorder.test_termination import is_gone


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Folder of the instance."""
    return tmp_path / "home"


@pytest.fixture
def local(home: Path) -> Iterator[Instance]:
    """The instance, as the server has it."""
    with Instance.open(home=home) as opened:
        yield opened


@pytest.fixture
def program(tmp_path: Path, home: Path) -> Iterator[Program]:
    """Starts programs that record into it."""
    made = Program(tmp_path, home)
    yield made
    made.end_all()


@pytest.fixture
def url(local: Instance) -> Iterator[str]:
    """A server of the instance."""
    with serve_in_thread(local) as server:
        yield f"{server.url}/graphql"


def terminate(url: str, run_id: str) -> Any:
    """The answer over HTTP."""
    body = {"query": TERMINATE, "variables": {"runId": run_id}}
    return httpx.post(url, json=body, timeout=60).raise_for_status().json()["data"]["it"]


def assert_canceled(told: Told, step_key: str) -> None:
    """The recorder has reported the end, and left nothing open."""
    until(lambda: told.status == "CANCELED", "end of the run")
    assert told.types[-3:] == ["RUN_CANCELING", "STEP_FAILURE", "RUN_CANCELED"]
    assert told.step_status(step_key) == "FAILURE"
    assert all(told.complete().values())
    assert [event.event_id for event in told.all("RUN_CANCELING")] == ["daglens:terminate"]


def test_a_command(url: str, local: Instance, program: Program) -> None:
    """`daglens record` ends its command and what that has started, and exits as for SIGTERM."""
    script = "sleep 1000 & echo $$ $!; wait"
    child = program.daglens("record", "--pipeline", "p", "--step", "s", "--", "sh", "-c", script)
    pids = child.stdout.readline().split()
    told = only_run(local)
    assert terminate(url, told.run_id)["run"]["status"] == "CANCELING"
    assert terminate(url, told.run_id)["run"]["status"] in ("CANCELING", "CANCELED")
    assert finished(child).returncode == 143
    for pid in pids:
        until(partial(is_gone, int(pid)), f"end of {pid}")
    assert_canceled(told, "s")
    assert told.log("s") == " ".join(pids) + "\n"
    assert terminate(url, told.run_id)["status"] == "CANCELED"


ISOLATED = """
import sys
import daglens.recorder as daglens
from tests.recorder.isolated_work import wait_for_ever
if __name__ == "__main__":
    with daglens.start_run("p") as run:
        run.call_step("s", wait_for_ever, sys.argv[1], isolate=True)
"""


def test_an_isolated_step(url: str, local: Instance, program: Program, tmp_path: Path) -> None:
    """The child process of a step ends with what it has started; the program gets RunTerminated."""
    child = program.start(ISOLATED, str(tmp_path))
    until((tmp_path / "pids").exists, "the step")
    told = only_run(local)
    assert terminate(url, told.run_id)["run"]["status"] == "CANCELING"
    assert "RunTerminated" in finished(child).stderr
    for pid in (tmp_path / "pids").read_text().split():
        until(partial(is_gone, int(pid)), f"end of {pid}")
    assert_canceled(told, "s")
    assert told.log("s") == "waiting\n"


def test_a_script_of_several_commands(url: str, local: Instance, program: Program) -> None:
    """A run that `daglens run start` began: the command that records a step of it ends, and the script ends the run."""
    run_id = program.run_daglens("run", "start", "--pipeline", "p").stdout.strip()
    child = program.daglens("record", "--run", run_id, "--step", "s", "--", "sh", "-c", "echo ready; exec sleep 1000")
    assert child.stdout.readline() == "ready\n"
    assert terminate(url, run_id)["run"]["status"] == "CANCELING"
    assert finished(child).returncode == 143
    assert Told(local, run_id).step_status("s") == "FAILURE"
    assert program.run_daglens("run", "finish", run_id, "--status", "canceled").returncode == 0
    assert Told(local, run_id).status == "CANCELED"


def test_a_recorder_that_was_killed(url: str, local: Instance, program: Program) -> None:
    """Nobody is there to report the end: within the timeout the run waits for its recorder, then it is presumed dead or
    canceled; either way it ends."""
    child = program.start(
        """
        import time
        import daglens.recorder as daglens
        with daglens.start_run("p", heartbeat_timeout_s=3) as run:
            print("ready", flush=True)
            time.sleep(3600)
        """
    )
    assert child.stdout.readline() == "ready\n"
    child.kill()
    finished(child)
    (told,) = runs_of(local)
    assert terminate(url, told.run_id)["run"]["status"] == "CANCELING"

    def ended() -> bool:
        answer = terminate(url, told.run_id)
        return bool(answer["__typename"] == "RunNotTerminableError" or answer["run"]["status"] == "CANCELED")

    until(ended, "end of the run")
    assert told.status in ("CANCELED", "FAILURE")
