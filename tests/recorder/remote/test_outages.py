"""The server goes away, loses answers, and comes back: every event arrives, once, in order."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import daglens
from daglens.instance import Instance
from daglens.recorder.remote import destination
from daglens.recorder.remote.address import Token
from daglens.recorder.remote.flush import flush, waiting
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.records import NewRun
from daglens.testing.server import LiveServer
from daglens.upkeep import reap
from tests.recorder.conftest import Told, finished, only_run, until
from tests.recorder.remote.conftest import dense
from tests.recorder.remote.gate import Answer, Gate, Lost, Request, answered, error, forwarded


def messages(told: Told) -> list[str]:
    """Texts of the log messages."""
    return [event.message for event in told.all("LOG_MESSAGE")]


def until_told(told: Told, message: str) -> None:
    """Wait until a log message is on the server."""
    until(lambda: message in messages(told), message)


def flushed(spool: SpoolFolder) -> list[str | None]:
    """Send what waits; the problem with each spool, None for none."""
    return [outcome.problem for outcome in flush(spool, Token.none(), pauses_s=())]


def test_a_server_that_is_away_twice(instance: Instance, gate: Gate, spool: SpoolFolder, capsys) -> None:
    """Recording goes on while the server is away; what waited arrives when it is back, and the outage is said once."""
    said = ""

    def is_said() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "daglens:" in said

    with daglens.start_run("p", to=gate.url) as run:
        told = Told(instance, run.run_id)
        for outage in range(2):
            with run.step(f"s{outage}") as step:
                print("before", outage)
                step.log.info("before %d", outage)
                until_told(told, f"before {outage}")
                gate.fall()
                print("during", outage)
                for n in range(150):
                    step.log.info("during %d %d", outage, n)
                assert f"during {outage} 0" not in messages(told)
                until(is_said, "word of the outage")
                gate.raise_()
                until_told(told, f"during {outage} 149")
                step.log.info("after %d", outage)
    assert dense(told)
    expected = [
        text for o in range(2) for text in [f"before {o}", *(f"during {o} {n}" for n in range(150)), f"after {o}"]
    ]
    assert messages(told) == expected
    assert [told.log(f"s{o}") for o in range(2)] == [f"before {o}\nduring {o}\n" for o in range(2)]
    assert told.status == "SUCCESS"
    assert list(spool.runs.iterdir()) == []
    is_said()
    assert said.count("daglens:") == 1
    assert "What is recorded waits in" in said


def test_lost_answers(instance: Instance, gate: Gate, spool: SpoolFolder) -> None:
    """A request that the server carried out, and whose answer was lost, is sent again: nothing is there twice."""
    lost: set[bytes] = set()

    def behave(request: Request) -> Answer:
        answer = request.forward()
        if request.body not in lost:
            lost.add(request.body)
            raise Lost
        return answer

    gate.behave = behave
    with daglens.start_run("p", to=gate.url, tags={"a": "b"}) as run:
        for n in range(5):
            with run.step(f"s{n}") as step:
                step.log.info("message %d", n)
                print("output", n)
        run.add_tags({"c": "d"})
    told = Told(instance, run.run_id)
    assert lost
    assert dense(told)
    assert messages(told) == [f"message {n}" for n in range(5)]
    assert [told.log(f"s{n}") for n in range(5)] == [f"output {n}\n" for n in range(5)]
    stored = instance.run(run.run_id)
    assert stored is not None and (stored.status, stored.tags) == ("SUCCESS", (("a", "b"), ("c", "d")))


NONSENSE: dict[str, Answer] = {
    "500": (500, "text/plain", b"Internal Server Error"),
    "502 by a proxy": (502, "text/html", b"<html><h1>Bad Gateway</h1></html>"),
    "HTML with 200": (200, "text/html", b"<!doctype html><title>Log in</title>"),
    "truncated JSON": (200, "application/json", b'{"data": {"createRun": {"__typename": "Crea'),
    "nothing": (200, "application/json", b""),
    "a list": (200, "application/json", b"[1, 2]"),
    "no data": (200, "application/json", b"{}"),
    "null data": (200, "application/json", b'{"data": null}'),
    "another answer": answered({"hello": "world"}),
    "half an answer": answered({"createRun": {"__typename": "CreateRunSuccess"}}),
    "an odd status": answered({"createRun": {"__typename": "CreateRunSuccess", "run": {"status": "ODD"}}}),
    "storage away": error("STORAGE_UNAVAILABLE"),
    "a bug": error("INTERNAL"),
    "not implemented": error("NOT_IMPLEMENTED"),
    "a redirect": (307, "text/plain", b"elsewhere"),
    "deep JSON": (200, "application/json", b'{"data":' + b"[" * 100_000),
    "more than it should": (200, "application/json", b" " * 5_000_000),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_answers_that_are_none(instance: Instance, gate: Gate, spool: SpoolFolder, nonsense: Answer, capsys) -> None:
    """Whatever else the server answers, the pipeline goes on and nothing is lost: it is sent when the answers are
    right again. One line says that it waits."""
    seen = threading.Event()

    def behave(request: Request) -> Answer:
        seen.set()
        return nonsense

    gate.behave = behave
    with daglens.start_run("p", to=gate.url) as run:
        with run.step("a") as step:
            print("output")
            step.log.info("message")
        assert seen.wait(60)
        gate.behave = forwarded
    told = Told(instance, run.run_id)
    assert dense(told)
    assert (messages(told), told.log("a"), told.status) == (["message"], "output\n", "SUCCESS")
    said = capsys.readouterr().err
    assert said.count("daglens:") == 1 and "waits in" in said


def test_a_server_that_does_not_answer(
    instance: Instance, gate: Gate, spool: SpoolFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes a request and says nothing holds up neither the steps nor, for long, the end; what it had
    not acknowledged is sent later."""
    monkeypatch.setattr(destination, "FINISH_S", 1.0)
    hold = threading.Event()
    took = threading.Event()

    def behave(request: Request) -> Answer:
        if request.field == "reportEvents":
            took.set()
            hold.wait(60)
            raise Lost
        return request.forward()

    gate.behave = behave
    try:
        with daglens.start_run("p", to=gate.url) as run:
            assert took.wait(60)
            with run.step("a") as step:
                step.log.info("message")
    finally:
        hold.set()
    (left,) = waiting(spool)
    assert (left.recording, left.events, left.run_id) == (False, 6, run.run_id)
    gate.behave = forwarded
    assert flushed(spool) == [None]
    told = Told(instance, run.run_id)
    assert dense(told)
    assert (messages(told), told.status) == (["message"], "SUCCESS")


@pytest.mark.usefixtures("server_stays_away")
def test_what_a_process_leaves_behind(instance: Instance, gate: Gate, spool: SpoolFolder, capsys) -> None:
    """A run whose server never was there is kept whole, with its time; it is said how much waits, and how it is sent.
    Sent later, the run is as it would have been."""
    gate.fall()
    with daglens.start_run("p", to=gate.url, tags={"a": "b"}) as run, run.step("a") as step:
        print("output")
        step.log.info("message")
    said = capsys.readouterr().err
    assert said.count("daglens:") == 2
    assert "6 events and 7 bytes of output" in said
    assert f"daglens recorder flush --to {gate.url}" in said
    assert [p is not None and "can't be reached" in p for p in flushed(spool)] == [True]
    gate.raise_()
    before = instance.runs.now_us()
    assert flushed(spool) == [None]
    assert flushed(spool) == []
    told = only_run(instance)
    stored = instance.run(run.run_id)
    assert stored is not None
    assert stored.created_at_us < before
    assert (stored.status, stored.tags, messages(told), told.log("a")) == (
        "SUCCESS",
        (("a", "b"),),
        ["message"],
        "output\n",
    )


@pytest.mark.usefixtures("server_stays_away")
def test_a_later_recorder_sends_it(instance: Instance, gate: Gate, spool: SpoolFolder) -> None:
    """The next recorder for the same server sends what earlier ones could not, of other runs too."""
    gate.fall()
    with daglens.start_run("first", to=gate.url) as first, first.step("a"):
        print("output")
    gate.raise_()
    with daglens.start_run("second", to=gate.url) as second, second.step("b"):
        until(lambda: not [w for w in waiting(spool) if w.run_id == first.run_id], "the first run's spool")
    assert {Told(instance, run.run_id).status for run in (first, second)} == {"SUCCESS"}
    assert Told(instance, first.run_id).log("a") == "output\n"


@pytest.mark.usefixtures("server_stays_away")
def test_steps_of_a_script_while_the_server_is_away(instance: Instance, gate: Gate, spool: SpoolFolder) -> None:
    """Parts of one run by processes one after the other: whoever reaches the server first sends the earlier parts
    before its own, and attempts are counted on."""
    gate.fall()
    run = daglens.start_run("p", run_id="r", to=gate.url, heartbeat_timeout_s=None)
    run._let_go()
    run._closed()  # as if the process that began the run had ended here
    run._recording.close(1)
    for text in ("one", "two"):
        with daglens.attach_run("r", to=gate.url) as part, part.step("a"):
            print(text)
    assert len(list(waiting(spool))) == 3
    gate.raise_()
    with daglens.attach_run("r", to=gate.url) as part, part.step("b"):
        pass
    told = Told(instance, "r")
    assert told.types == [
        "RUN_START",
        "STEP_START",
        "STEP_SUCCESS",
        "STEP_RESTARTED",
        "STEP_SUCCESS",
        "STEP_START",
        "STEP_SUCCESS",
    ]
    assert dense(told)
    assert [told.log("a", attempt=n) for n in (1, 2)] == ["one\n", "two\n"]
    assert list(spool.runs.iterdir()) == []


PROGRAM = """
import os, sys
import daglens
with daglens.start_run("p", run_id="r", to=sys.argv[1], heartbeat_timeout_s=3) as run:
    with run.step("a") as step:
        for n in range(300):
            step.log.info("message %d", n)
        print("output")
        assert run.flush()
        os.write(int(os.environ["READY_FD"]), b"ready")
        while True:
            step.log.info("more")
"""


def killed(program, url: str, spool: SpoolFolder) -> None:
    """A recorder that was killed in the middle."""
    ready, ready_for_child = os.pipe()
    env = {"READY_FD": str(ready_for_child), "DAGLENS_SPOOL": str(spool.path)}
    child = program.start(PROGRAM, url, env=env, pass_fds=(ready_for_child,))
    os.close(ready_for_child)
    assert os.read(ready, 5) == b"ready", finished(child).stderr
    os.close(ready)
    child.send_signal(signal.SIGKILL)
    finished(child)


def test_a_recorder_that_is_killed(instance: Instance, gate: Gate, spool: SpoolFolder, program) -> None:
    """What a recorder had flushed before `kill -9` is sent later, with its output, whether or not the server had been
    there; then the run is presumed dead, as one that had been recorded here."""
    gate.fall()
    killed(program, gate.url, spool)
    (left,) = waiting(spool)
    assert not left.recording and left.events >= 302 and left.log_bytes == 7
    gate.raise_()
    assert flushed(spool) == [None]
    told = Told(instance, "r")
    assert dense(told)
    assert messages(told)[:300] == [f"message {n}" for n in range(300)]
    assert set(messages(told)[300:]) <= {"more"}
    assert told.log("a") == "output\n"
    assert told.status == "STARTED"
    assert until(lambda: reap(instance), "presumed failure") == ["r"]


def test_a_living_recorder_keeps_its_spool(instance: Instance, gate: Gate, spool: SpoolFolder) -> None:
    """A flush leaves alone what a living process records."""
    gate.fall()
    with daglens.start_run("p", to=gate.url):
        (found,) = waiting(spool)
        assert found.recording
        assert flushed(spool) == []
        gate.raise_()
    assert only_run(instance).status == "SUCCESS"


def test_a_server_that_lost_the_run(instance: Instance, gate: Gate, spool: SpoolFolder, capsys) -> None:
    """A server that has forgotten a run (one in memory that was started again) gets it anew, with what comes."""
    with Instance.ephemeral() as second:
        with daglens.start_run("p", to=gate.url, tags={"a": "b"}) as run:
            until(lambda: Told(instance, run.run_id).types == ["RUN_START"], "run")
            from daglens.testing.server import serve_in_thread

            with serve_in_thread(second) as other:
                gate.behind = other.url
                with run.step("a"):
                    print("output")
                until(lambda: "STEP_SUCCESS" in Told(second, run.run_id).types, "step")
                run.finish()
        stored = second.run(run.run_id)
        assert stored is not None and (stored.status, stored.tags) == ("SUCCESS", (("a", "b"),))
        assert Told(second, run.run_id).log("a") == "output\n"


@pytest.mark.usefixtures("server_stays_away")
def test_an_unknown_run(instance: Instance, gate: Gate, spool: SpoolFolder, capsys) -> None:
    """A part of a run that the server doesn't have waits, which is said: whoever began the run may not have sent it
    yet. When the run is there, the part is sent."""
    with daglens.attach_run("r", to=gate.url) as part, part.step("a"):
        pass
    said = capsys.readouterr().err
    assert "has no run r. What is recorded waits" in said
    assert flushed(spool) == [f"{gate.url} has no run r."]
    instance.create_run(NewRun("r", "p"))
    assert flushed(spool) == [None]
    assert Told(instance, "r").types == ["STEP_START", "STEP_SUCCESS"]


def test_access_denied(instance: Instance, gate: Gate, spool: SpoolFolder, capsys, tmp_path) -> None:
    """A server that denies access is told of once, and everything waits; a token file is read again, so that a new
    token is taken up. The token is in no message and no file of the spool."""
    token = tmp_path / "token"
    token.write_text("wrong-token")

    def behave(request: Request) -> Answer:
        if request.headers.get("authorization") != "Bearer right-token":
            return error("UNAUTHENTICATED", "Who are you?", 401)
        return request.forward()

    gate.behave = behave
    from daglens.recorder.problems import Problems
    from daglens.recorder.start import record_new_run
    from daglens.recorder.where import destination_for

    problems = Problems()
    server = destination_for("r", problems, to=gate.url, token=Token.in_file(token))
    with record_new_run(NewRun("r", "p"), server, problems) as run:
        with run.step("a"):
            pass
        for path in spool.path.rglob("*"):
            assert not path.is_file() or b"-token" not in path.read_bytes()
        token.write_text("right-token\n")
    assert Told(instance, "r").status == "SUCCESS"
    said = capsys.readouterr().err
    assert said.count("denies access: Who are you?") == 1
    assert "-token" not in said


def test_output_that_the_server_has_lost(instance: Instance, gate: Gate, spool: SpoolFolder) -> None:
    """A log that is shorter on the server than what was acknowledged is sent again from where it ends."""
    cut = threading.Event()

    def behave(request: Request) -> Answer:
        given = request.variables.get("input", {})
        if request.field == "appendComputeLog" and int(given["offset"]) > 0 and not cut.is_set():
            cut.set()
            return answered(
                {
                    "appendComputeLog": {
                        "__typename": "ComputeLogOffsetError",
                        "code": "COMPUTE_LOG_OFFSET",
                        "message": "Gap.",
                        "sizeBytes": "2",
                    }
                }
            )
        return request.forward()

    gate.behave = behave
    with daglens.start_run("p", to=gate.url) as run, run.step("a"):
        print("first")
        until(lambda: gate.of("appendComputeLog"), "a first piece")
        print("second")
    assert cut.is_set()
    pieces = [request.variables["input"] for request in gate.of("appendComputeLog")]
    assert [piece["offset"] for piece in pieces if piece["ioType"] == "STDOUT"][:3] == ["0", "6", "2"]
    assert Told(instance, run.run_id).log("a") == "first\nsecond\n"


@pytest.mark.usefixtures("spool")
def test_a_closed_idle_connection(instance: Instance, gate: Gate, server: LiveServer, capsys) -> None:
    """A connection that the server closed while it was idle is opened again without a word."""
    with daglens.start_run("p", to=gate.url) as run:
        until(lambda: "RUN_START" in Told(instance, run.run_id).types, "run")
        gate.close_idle()
        with run.step("a"):
            pass
    assert Told(instance, run.run_id).status == "SUCCESS"
    assert "daglens:" not in capsys.readouterr().err
