"""`daglens record|run --to URL` and `daglens recorder`: as programs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.records import NewRun
from tests.recorder.conftest import Program, Told, only_run, runs_of, until
from tests.recorder.remote.conftest import dense
from tests.recorder.remote.gate import Gate, Request, error
from tests.recorder.remote.test_run import terminate


class Commands:
    """The `daglens` command, with the spool of this test."""

    def __init__(self, program: Program, spool: SpoolFolder) -> None:
        self._program = program
        self._env = {"DAGLENS_SPOOL": str(spool.path)}
        self._away = {"DAGLENS_FINISH_WAIT_S": "0.3"}

    def run(self, *args: str, **env: str) -> Any:
        """Run it to its end."""
        return self._program.run_daglens(*args, env=self._env | env)

    def run_away(self, *args: str, **env: str) -> Any:
        """Run it to its end, which doesn't wait for the server to come back."""
        return self.run(*args, **self._away, **env)

    def start(self, *args: str, **env: str) -> Any:
        """Start it."""
        return self._program.daglens(*args, env=self._env | env)


@pytest.fixture
def daglens(program: Program, spool: SpoolFolder) -> Commands:
    """Commands of this test."""
    return Commands(program, spool)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143)])
def test_record(instance: Instance, gate: Gate, daglens: Commands, script: str, code: int) -> None:
    """The command's exit code passes through, its output is shown and recorded."""
    command = f"echo out; echo err >&2; {script}"
    done = daglens.run(
        "record", "--pipeline", "p", "--step", "a", "--to", gate.url, "--tag", "k=v", "--", "sh", "-c", command
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")
    told = only_run(instance)
    assert dense(told)
    assert (told.log("a"), told.err("a")) == ("out\n", "err\n")
    assert told.status == ("SUCCESS" if code == 0 else "FAILURE")


def test_the_exit_code_passes_through_whatever_happens(gate: Gate, daglens: Commands, tmp_path: Path) -> None:
    """So it does when the server is away, denies access, or a token is not to be found; each is said once."""
    gate.behave = lambda request: error("FORBIDDEN", "Not you.")
    record = ("record", "--pipeline", "p", "--step", "a", "--to", gate.url)
    command = ("--", "sh", "-c", "echo out; exit 7")
    done = daglens.run_away(*record, *command)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.count("denies access: Not you.") == 2
    done = daglens.run_away(*record, "--token-file", str(tmp_path / "none"), *command)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.count("There is no token") + done.stderr.count(str(tmp_path / "none")) >= 1
    gate.fall()
    done = daglens.run_away(*record, *command)
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "Connection refused" in done.stderr and "Traceback" not in done.stderr


def test_termination(instance: Instance, gate: Gate, daglens: Commands) -> None:
    """A request to end the run reaches the command and what it has started; the run is canceled."""
    child = daglens.start(
        "record", "--pipeline", "p", "--step", "a", "--to", gate.url, "--", "sh", "-c", "echo $$; sleep 600 & wait"
    )
    pid = int(child.stdout.readline())
    run = until(lambda: runs_of(instance), "run")[0]
    until(lambda: "STEP_START" in run.types, "step")
    terminate(gate.url, run.run_id)
    assert child.wait(60) == 143
    until(lambda: not os.path.exists(f"/proc/{pid}"), "end of the command")
    assert run.status == "CANCELED"


def test_a_script(instance: Instance, gate: Gate, daglens: Commands) -> None:
    """A script of several steps makes one run, by $DAGLENS_TO; a command finds run and server by itself."""
    nested = 'echo one; "$PYTHON" -m daglens.cli record --step nested -- echo "$DAGLENS_TO"'
    env = {"DAGLENS_TO": gate.url, "PYTHON": sys.executable}
    run_id = daglens.run("run", "start", "--pipeline", "p", "--timeout", "100", **env).stdout.strip()
    env["DAGLENS_RUN_ID"] = run_id
    done = daglens.run("record", "--step", "a", "--", "sh", "-c", nested, **env)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"one\n{gate.url}\n", "")
    assert daglens.run("run", "finish", "--status", "failure", "--message", "why", **env).returncode == 0
    told = only_run(instance)
    assert dense(told)
    assert told.status == "FAILURE"
    assert told.log("nested") == f"{gate.url}\n"
    assert told.one("RUN_FAILURE").message == "p failed: why"
    stored = instance.run(run_id)
    assert stored is not None and stored.heartbeat_timeout_s == 100


def test_repeating_start_and_finish(instance: Instance, gate: Gate, daglens: Commands) -> None:
    """Both may be repeated: the run begins once, and the first end counts."""
    for _ in range(2):
        done = daglens.run("run", "start", "--pipeline", "p", "--run-id", "r", "--to", gate.url)
        assert (done.returncode, done.stdout) == (0, "r\n")
    for status in ("success", "failure"):
        assert daglens.run("run", "finish", "r", "--status", status, "--to", gate.url).returncode == 0
    assert Told(instance, "r").types == ["RUN_START", "RUN_SUCCESS"]


def test_finishing_what_is_not_there(gate: Gate, daglens: Commands) -> None:
    """A run that neither the server nor the spool knows is an error, as with an instance."""
    done = daglens.run("run", "finish", "none", "--to", gate.url)
    assert done.returncode == 1
    assert "There is no such run. Run id: none" in done.stderr


def test_a_script_without_a_server(instance: Instance, gate: Gate, daglens: Commands, spool: SpoolFolder) -> None:
    """The whole script goes on without a server; a flush later makes the run as it was. `status` tells what waits."""
    gate.fall()
    env = {"DAGLENS_TO": gate.url}
    run_id = daglens.run_away("run", "start", "--pipeline", "p", **env).stdout.strip()
    assert daglens.run_away("record", "--run", run_id, "--step", "a", "--", "echo", "one", **env).returncode == 0
    assert daglens.run_away("run", "finish", run_id, **env).returncode == 0
    waiting = [json.loads(line) for line in daglens.run_away("recorder", "status", "--json").stdout.splitlines()]
    assert [(w["runId"], w["events"], w["logBytes"], w["recording"]) for w in waiting] == [
        (run_id, 1, 0, False),
        (run_id, 3, 4, False),
        (run_id, 1, 0, False),
    ]
    assert "refused" in waiting[0]["problem"]
    shown = daglens.run_away("recorder", "status")
    assert run_id in shown.stdout and "gone" in shown.stdout
    assert re.search(rf"What waits for {gate.url} takes [\d.]+ KiB of 1.0 GiB here.", shown.stdout)
    failed = daglens.run_away("recorder", "flush")
    assert failed.returncode == 1
    assert "3 of these could not be sent" in failed.stderr
    # Why, is told once: it is the same of all.
    assert failed.stderr.count("can't be reached") == 1, failed.stderr
    gate.raise_()
    done = daglens.run_away("recorder", "flush", "--to", gate.url)
    assert (done.returncode, done.stdout.count("sent")) == (0, 3)
    told = only_run(instance)
    assert told.types == ["RUN_START", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS"]
    assert told.log("a") == "one\n"
    assert daglens.run_away("recorder", "flush").stdout == "Nothing to send.\n"
    assert daglens.run_away("recorder", "status").stdout == f"Nothing waits in {spool.path}.\n"


def test_flushing_to_a_server_that_has_moved(instance: Instance, gate: Gate, daglens: Commands) -> None:
    """What waits for one address can be sent to another; what waits for a third one stays."""
    away = "http://127.0.0.1:9"
    for url in (away, "http://127.0.0.1:10"):
        daglens.run_away("run", "start", "--pipeline", "p", "--to", url)
    done = daglens.run_away("recorder", "flush", "--to", gate.url, "--instead-of", away)
    assert (done.returncode, done.stdout.count("sent")) == (0, 1)
    assert gate.url in done.stdout and away not in done.stdout
    assert len(runs_of(instance)) == 1
    assert len(daglens.run_away("recorder", "status", "--json").stdout.splitlines()) == 1
    assert daglens.run_away("recorder", "flush", "--instead-of", away).returncode == 2


def test_a_token_is_one_server_s(gate: Gate, daglens: Commands, tmp_path: Path) -> None:
    """A flush sends its token to the server that is named; with several in the spool and none named it refuses."""
    token = tmp_path / "token"
    token.write_text("abc\n")
    for url in (gate.url, "http://127.0.0.1:9"):
        daglens.run_away("run", "start", "--pipeline", "p", "--to", url)
    gate.fall()
    daglens.run_away("run", "start", "--pipeline", "p", "--to", gate.url)
    gate.raise_()
    gate.requests.clear()
    refused = daglens.run_away("recorder", "flush", "--token-file", str(token))
    assert refused.returncode == 2 and gate.requests == []
    assert daglens.run_away("recorder", "flush", DAGLENS_TOKEN="abc").returncode == 2
    assert daglens.run_away("recorder", "flush", "--to", gate.url, "--token-file", str(token)).returncode == 0
    assert {request.headers["authorization"] for request in gate.requests} == {"Bearer abc"}


def test_a_flush_that_the_run_refuses(instance: Instance, gate: Gate, daglens: Commands) -> None:
    """What is for a run that was deleted meanwhile is dropped, with a word: nothing takes it any more."""
    from daglens.upkeep import delete_run

    gate.fall()
    daglens.run_away("run", "start", "--pipeline", "p", "--run-id", "r", "--to", gate.url)
    instance.create_run(NewRun("r", "p"))
    delete_run(instance, "r")
    gate.raise_()
    done = daglens.run("recorder", "flush")
    assert done.returncode == 0
    assert "dropped 1 event," in done.stderr and "was deleted" in done.stderr
    assert daglens.run("recorder", "status", "--json").stdout == ""


def test_wrong_usage(gate: Gate, daglens: Commands, tmp_path: Path) -> None:
    """What contradicts itself, and what is no address, is refused before anything runs."""
    record = ("record", "--pipeline", "p", "--step", "a")
    command = ("--", "echo", "ran")
    for options in (
        ("--to", gate.url, "--instance-home", str(tmp_path)),
        ("--token-file", "x"),
        ("--to", "lens.example.org"),
        ("--to", "https://user:secret@lens.example.org"),
    ):
        done = daglens.run(*record, *options, *command)
        assert (done.returncode, done.stdout) == (2, ""), options
        assert "Traceback" not in done.stderr and "secret" not in done.stderr
    assert gate.requests == []


def test_an_instance_wins_over_the_environment(gate: Gate, daglens: Commands, tmp_path: Path) -> None:
    """--instance-home records there, whatever $DAGLENS_TO says; so do the commands below it."""
    home = tmp_path / "elsewhere"
    done = daglens.run(
        "record", "--pipeline", "p", "--step", "a", "--instance-home", str(home), "--", "sh", "-c",
        'echo "[$DAGLENS_TO] $DAGLENS_INSTANCE_HOME"', DAGLENS_TO=gate.url,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"[] {home}\n", "")
    assert gate.requests == []
    with Instance.open(home=home) as there:
        assert only_run(there).status == "SUCCESS"


def test_a_token_is_in_no_list_of_processes(gate: Gate, daglens: Commands, tmp_path: Path) -> None:
    """The token of a file reaches the server and, by the file's name, the commands below; it is in no command line
    and in no environment."""
    token = tmp_path / "token"
    token.write_text("top-secret\n")
    done = daglens.run(
        "record", "--pipeline", "p", "--step", "a", "--to", gate.url, "--token-file", str(token), "--", "env"
    )  # fmt: skip
    assert f"DAGLENS_TOKEN_FILE={token}" in done.stdout
    assert "top-secret" not in done.stdout + done.stderr
    assert {request.headers["authorization"] for request in gate.requests} == {"Bearer top-secret"}


def test_killed(instance: Instance, gate: Gate, daglens: Commands) -> None:
    """A `record` that is killed: what the command had printed until then is sent by a flush."""
    seen: list[Request] = []

    def behave(request: Request) -> Any:
        seen.append(request)
        return error("STORAGE_UNAVAILABLE")

    gate.behave = behave
    child = daglens.start(
        "record", "--pipeline", "p", "--step", "a", "--to", gate.url, "--", "sh", "-c", "echo printed; exec sleep 600"
    )
    assert child.stdout.readline() == "printed\n"
    until(lambda: seen, "a request")
    child.send_signal(signal.SIGKILL)
    child.wait()
    gate.behave = lambda request: request.forward()
    assert daglens.run("recorder", "flush").returncode == 0
    told = only_run(instance)
    assert told.log("a") == "printed\n"
    # The kill may come within the 20 ms that an event waits for others in memory.
    assert told.types in (["RUN_START"], ["RUN_START", "STEP_START"])
