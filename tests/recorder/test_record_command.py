"""`daglens record`: a command as a step."""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from daglens.storage.records import ComputeIO, EventDraft, LogKey
from tests.recorder.conftest import Told, environment, finished, only_run, runs_of, until
from tests.recorder.test_termination import is_gone

RECORD = ("record", "--pipeline", "nightly", "--step", "extract")


def test_a_command_that_ends_well(program, local):
    """Its output is on the console and in the log, each stream in its place; run and step end well."""
    done = program.run_daglens(*RECORD, "--tag", "team=core", "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    told = only_run(local)
    assert told.types == ["RUN_START", "STEP_START", "STEP_SUCCESS", "RUN_SUCCESS"]
    assert (told.log("extract"), told.err("extract")) == ("out\n", "err\n")
    assert all(told.complete().values())
    stored = local.run(told.run_id)
    assert stored is not None
    assert (stored.pipeline_name, stored.tags, stored.heartbeat_timeout_s) == ("nightly", (("team", "core"),), 60)


def test_the_exit_code_passes_through(program, local):
    """A command that fails: its exit code is ours, step and run say it."""
    done = program.run_daglens(*RECORD, "--", "sh", "-c", "exit 42")
    assert (done.returncode, done.stderr) == (42, "")
    told = only_run(local)
    assert told.types[-2:] == ["STEP_FAILURE", "RUN_FAILURE"]
    assert told.data("STEP_FAILURE")["error"] == {
        "className": None,
        "message": "sh ended with exit code 42",
        "stack": [],
        "cause": None,
    }


def test_a_killed_command(program, local):
    """A command that a signal ends: 128 + n, the step says which signal, what it printed is in the log."""
    done = program.run_daglens(
        *RECORD, "--", sys.executable, "-c", "import os; print('last words'); os.kill(os.getpid(), 9)"
    )
    assert done.returncode == 128 + signal.SIGKILL
    told = only_run(local)
    assert told.status == "FAILURE"
    assert "SIGKILL" in told.one("STEP_FAILURE").message
    # PYTHONUNBUFFERED=1 is what saves them.
    assert told.log("extract") == "last words\n"


def test_options_of_the_command_are_its_own(program, local):
    """What follows the command's name isn't ours, without a `--` too."""
    done = program.run_daglens(*RECORD, "echo", "--step", "other", "-x")
    assert (done.returncode, done.stdout) == (0, "--step other -x\n")
    assert only_run(local).step_status("extract") == "SUCCESS"


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("nonesuch", 127, "Command not found: nonesuch"),
        ("/etc/passwd", 126, "can't be run"),
        ("./nonesuch", 127, "not found"),
    ],
)
def test_a_command_that_can_not_be_started(program, local, command, code, sentence):
    """As a shell would: 127 or 126 and a sentence; the run has failed."""
    done = program.run_daglens(*RECORD, "--", command)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    told = only_run(local)
    assert (told.status, told.step_status("extract")) == ("FAILURE", "FAILURE")


@pytest.mark.parametrize("arguments", [("--step", "x", "--", "true"), ("--pipeline", "x", "--", "true"), RECORD])
def test_wrong_usage(program, arguments):
    """Without a step, a pipeline or a command: exit code 2 and what is missing."""
    done = program.run_daglens("record", *arguments) if arguments[0] != "record" else program.run_daglens(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: daglens record")


def test_output_is_live(program, local):
    """While the command runs, what it printed is in the log, and its Python doesn't hold it back."""
    child = program.daglens(*RECORD, "--", sys.executable, "-c", "print('early'); input()", stdin=-1)
    assert child.stdout.readline() == "early\n"
    told = only_run(local)
    assert told.log("extract") == "early\n"
    assert told.status == "STARTED"
    child.stdin.write("\n")
    assert finished(child).returncode == 0


def test_the_user_s_buffering_stays(program, local):
    """PYTHONUNBUFFERED is left as it is where it is set."""
    code = "import os; print(os.environ['PYTHONUNBUFFERED'] or 'empty')"
    for given, seen in ((None, "1"), ("", "empty")):
        env = {} if given is None else {"PYTHONUNBUFFERED": given}
        assert program.run_daglens(*RECORD, "--", sys.executable, "-c", code, env=env).stdout == f"{seen}\n"


WAITING = """
import os, pathlib, subprocess, sys, time
grandchild = subprocess.Popen(["sleep", "3600"])
folder = pathlib.Path(sys.argv[1])
(folder / "pids.part").write_text(f"{os.getpid()} {grandchild.pid}")
(folder / "pids.part").rename(folder / "pids")
time.sleep(3600)
"""


def waiting(program, tmp_path: Path, *options: str, **more: object):
    """`daglens record` of a command that waits with a child of its own; and both their ids."""
    child = program.daglens(*RECORD, *options, "--", sys.executable, "-c", WAITING, str(tmp_path), **more)
    until((tmp_path / "pids").exists, "command")
    return child, [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def all_end(pids: list[int]) -> None:
    for pid in pids:
        until(partial(is_gone, pid), f"end of {pid}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_command(program, local, tmp_path, number):
    """A signal to the recorder goes to the command and its children; the run is canceled."""
    child, pids = waiting(program, tmp_path)
    child.send_signal(number)
    assert finished(child).returncode == 128 + number
    all_end(pids)
    told = only_run(local)
    assert (told.status, told.step_status("extract")) == ("CANCELED", "FAILURE")
    assert number.name in told.one("RUN_CANCELED").message


def test_a_request_to_end_the_run_reaches_the_command(program, local, tmp_path):
    """RUN_CANCELING in the log ends the command with its process group; the run is canceled, and stderr says why."""
    child, pids = waiting(program, tmp_path)
    told = only_run(local)
    until(lambda: "STEP_START" in told.types, "the step is stored")  # the command may be quicker than its event
    local.append(told.run_id, [EventDraft("RUN_CANCELING")], heard=False)
    done = finished(child)
    assert done.returncode == 128 + signal.SIGTERM
    assert "was ended by SIGTERM, the run was asked to end." in done.stderr
    all_end(pids)
    assert told.types[-3:] == ["RUN_CANCELING", "STEP_FAILURE", "RUN_CANCELED"]


def test_a_command_that_takes_sigterm_well(program, local):
    """A command that ends with 0 after a signal has ended well."""
    shell = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    child = program.daglens(*RECORD, "--", "sh", "-c", shell)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    assert finished(child).returncode == 0
    assert only_run(local).status == "SUCCESS"


def test_other_signals_are_handed_on(program, local):
    """SIGUSR1 goes to the command, and cancels nothing."""
    shell = "trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.01; done"
    child = program.daglens(*RECORD, "--", "sh", "-c", shell)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGUSR1)
    done = finished(child)
    assert (done.returncode, done.stdout) == (3, "got it\n")
    assert only_run(local).status == "FAILURE"


def test_a_signal_that_is_ignored_stays_ignored(program, local):
    """Started by nohup or in the background of a script, the command ignores what it was told to ignore."""
    inner = "trap '' INT; exec {} -m daglens.cli {} -- sh -c 'kill -INT $$; kill -INT $PPID; echo still here'"
    done = finished(program.command(["sh", "-c", inner.format(sys.executable, " ".join(RECORD))]))
    assert (done.returncode, done.stdout) == (0, "still here\n")
    assert only_run(local).status == "SUCCESS"


def test_a_killed_recorder(program, local, tmp_path):
    """`kill -9` of the recorder: the command goes on, what it writes goes on into its log."""
    code = "import sys; print('one', flush=True); sys.stdin.readline(); print('two', flush=True)"
    child = program.daglens(*RECORD, "--", sys.executable, "-c", code, stdin=-1)
    assert child.stdout.readline() == "one\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.write("\n")
    child.stdin.flush()
    told = only_run(local)
    until(lambda: told.log("extract") == "one\ntwo\n", "the second line")


def test_wrong_configuration_changes_nothing(program, home):
    """A dagster.yaml that is wrong: the command runs as without us, and what is wrong is said."""
    home.mkdir()
    (home / "dagster.yaml").write_text("run_storage: {module: nonesuch, class: X}")
    done = program.run_daglens(*RECORD, "--", "sh", "-c", "echo out; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert "Nothing is recorded." in done.stderr
    assert "dagster.yaml" in done.stderr


def test_the_run_is_handed_on(program, local):
    """The command finds the run's id; a `daglens record` below it is a step of the same run, as is attach_run."""
    code = "import daglens.recorder as d\nwith d.attach_run() as r, r.step('python'): print('in python')"
    inner = f"{sys.executable} -m daglens.cli record --step inner -- echo in the shell"
    shell = f'echo $DAGLENS_RUN_ID; {inner}; {sys.executable} -c "{code}"'
    done = program.run_daglens(*RECORD, "--", "sh", "-c", shell)
    assert done.returncode == 0, done.stderr
    told = only_run(local)
    assert done.stdout.splitlines() == [told.run_id, "in the shell", "in python"]
    assert told.log("inner") == "in the shell\n"
    assert told.log("python") == "in python\n"
    assert told.log("extract") == done.stdout
    assert told.types.count("RUN_START") == told.types.count("RUN_SUCCESS") == 1


def test_the_instance_is_handed_on(program, tmp_path):
    """--instance-home holds for what the command records, too."""
    from daglens.instance import Instance

    other = tmp_path / "other"
    shell = f"{sys.executable} -m daglens.cli record --step inner -- echo hello"
    done = program.run_daglens(*RECORD, "--instance-home", str(other), "--", "sh", "-c", shell)
    assert done.returncode == 0, done.stderr
    with Instance.open(home=other) as instance:
        assert only_run(instance).log("inner") == "hello\n"


def test_without_capture(program, local):
    """--no-capture: output goes where ours goes, no log is kept."""
    done = program.run_daglens(*RECORD, "--no-capture", "--", "echo", "hello")
    assert done.stdout == "hello\n"
    assert only_run(local).complete() == {}


def test_large_output(program, local):
    """Ten megabytes on both streams are on the console and in the log, byte for byte."""
    code = "import os\nfor n in range(200):\n  os.write(1, bytes([n]) * 50000)\n  os.write(2, b'e' * 1000)"
    child = program.daglens(*RECORD, "--", sys.executable, "-c", code)
    child.stdout.close()
    child.stderr.close()
    assert child.wait() == 0
    told = only_run(local)
    key = LogKey(told.run_id, "extract")
    assert local.compute_logs.read(key, ComputeIO.STDOUT, 0, 10**8).data == b"".join(
        bytes([n]) * 50000 for n in range(200)
    )
    assert local.compute_logs.read(key, ComputeIO.STDERR, 0, 10**8).size_bytes == 200_000


READING = """
import sys, time
print("ready", input(), flush=True)
try:
    time.sleep(3600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(7)
"""


def test_a_terminal_s_ctrl_c(program, local, home, tmp_path):
    """In a terminal the command may read from it, and Ctrl-C reaches command and recorder, each once."""
    import pty

    argv = [sys.executable, "-m", "daglens.cli", *RECORD, "--", sys.executable, "-c", READING]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, environment(home))
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                raise AssertionError(shown) from None

    try:
        os.write(terminal, b"typed\n")
        read_until(b"ready typed")
        os.write(terminal, b"\x03")
        read_until(b"interrupted")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        os.close(terminal)
    told = only_run(local)
    assert told.status == "CANCELED"
    assert told.log("extract").count("interrupted") == 1


# ---------------------------------------------------------------- a run of several commands


SCRIPT = """
set -e
export DAGLENS_RUN_ID=$($DAGLENS run start --pipeline nightly --tag team=core {options})
echo "run $DAGLENS_RUN_ID"
$DAGLENS record --step extract -- echo extracting
$DAGLENS record --step load -- sh -c '{load}' || {{
    $DAGLENS run finish --status failure --message "load failed"
    exit 1
}}
$DAGLENS record --step load -- echo again
$DAGLENS run finish
$DAGLENS run finish --status failure
"""


def run_script(program, load: str = "echo loading", options: str = ""):
    """Run SCRIPT in a shell."""
    env = {"DAGLENS": f"{sys.executable} -m daglens.cli"}
    return finished(program.command(["sh", "-c", SCRIPT.format(load=load, options=options)], env=env))


def test_a_script_of_several_steps_is_one_run(program, local):
    """`run start`, `record` and `run finish` make one run; a step that runs again is another attempt; the first end
    counts."""
    done = run_script(program)
    assert done.returncode == 0, done.stderr
    told = only_run(local)
    assert done.stdout.splitlines() == [f"run {told.run_id}", "extracting", "loading", "again"]
    assert told.types == [
        "RUN_START",
        "STEP_START",
        "STEP_SUCCESS",
        "STEP_START",
        "STEP_SUCCESS",
        "STEP_RESTARTED",
        "STEP_SUCCESS",
        "RUN_SUCCESS",
    ]
    assert (told.log("load"), told.log("load", attempt=2)) == ("loading\n", "again\n")
    stored = local.run(told.run_id)
    assert stored is not None
    assert (stored.tags, stored.heartbeat_timeout_s) == ((("team", "core"),), None)


def test_a_script_that_fails(program, local):
    """The script ends the run as a failure, and says why."""
    assert run_script(program, load="exit 9").returncode == 1
    told = only_run(local)
    assert told.status == "FAILURE"
    assert told.data("RUN_FAILURE")["error"]["message"] == "load failed"


def test_a_script_s_run_may_be_presumed_dead(program, local):
    """With --timeout the run has a heartbeat, and each event of its steps is a sign of life."""
    assert run_script(program, options="--timeout 3600").returncode == 0
    stored = local.run(only_run(local).run_id)
    assert stored is not None
    assert stored.heartbeat_timeout_s == 3600


def test_start_and_finish_may_be_repeated(program, local):
    """A repeated `run start` with the same id finds its run; a repeated end is stored once."""
    for _ in range(2):
        done = program.run_daglens("run", "start", "--pipeline", "p", "--run-id", "r1")
        assert (done.returncode, done.stdout) == (0, "r1\n")
    for named in (["r1"], ["--run", "r1"]):
        assert program.run_daglens("run", "finish", *named, "--status", "canceled").returncode == 0
    assert program.run_daglens("run", "finish", "r1", "--run", "r1").returncode == 2
    told = Told(local, "r1")
    assert told.types == ["RUN_START", "RUN_CANCELED"]
    assert [json.loads(event.data) for event in told.all("RUN_CANCELED")] == [{}]


def test_finishing_what_is_not_there(program):
    """A run that doesn't exist can't be ended."""
    done = program.run_daglens("run", "finish", "nonesuch")
    assert done.returncode == 1
    assert "There is no such run." in done.stderr


def test_start_prints_an_id_whatever_happens(program, home):
    """A script goes on when the run can't be recorded."""
    home.mkdir()
    (home / "dagster.yaml").write_text("run_storage: {module: nonesuch, class: X}")
    done = program.run_daglens("run", "start", "--pipeline", "p", "--run-id", "r1")
    assert (done.returncode, done.stdout) == (0, "r1\n")
    assert "not recorded" in done.stderr


def test_several_recorders_of_one_run(program, local):
    """Steps that a script runs at once are all in the run."""
    local_run = program.run_daglens("run", "start", "--pipeline", "p").stdout.strip()
    children = [
        program.daglens("record", "--run", local_run, "--step", f"s{n}", "--", "echo", str(n)) for n in range(4)
    ]
    assert [finished(child).returncode for child in children] == [0] * 4
    told = runs_of(local)[0]
    assert [told.log(f"s{n}") for n in range(4)] == [f"{n}\n" for n in range(4)]
    assert [event.seq for event in told.events] == list(range(1, 14))
