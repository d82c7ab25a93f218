"""What the server doesn't take is replaced by a note of it, and the rest goes on."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

import daglens
from daglens.instance import Instance
from daglens.recorder.remote import destination
from daglens.recorder.remote.address import Token
from daglens.recorder.remote.flush import flush
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.records import EventDraft, NewRun
from daglens.testing.server import serve_in_thread
from tests.recorder.conftest import Told
from tests.recorder.remote.conftest import dense
from tests.recorder.remote.gate import Answer, Gate, Request, answered, error, gate_to
from tests.recorder.test_storage_trouble import choosy

pytestmark = pytest.mark.usefixtures("spool")


def invalid(field: str, path: str, code: str = "INVALID_INPUT") -> Answer:
    """A server's refusal."""
    told = {"__typename": "InvalidInputError", "code": code, "message": f"No {path}.", "path": path}
    return answered({field: told})


def notes(told: Told) -> list[str]:
    """Messages of engine events."""
    return [event.message for event in told.all("ENGINE_EVENT")]


def recorded(gate: Gate, count: int = 5) -> tuple[daglens.Run, list[str]]:
    """A run with log messages, some of them called bad."""
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        texts = [f"{'bad' if n in (1, 3) else 'good'} {n}" for n in range(count)]
        for text in texts:
            step.log.info(text)
    return run, texts


def test_an_event_that_the_server_refuses(instance: Instance, gate: Gate, capsys) -> None:
    """An event whose data its type doesn't allow is replaced by an ENGINE_EVENT in its place that says what was
    dropped; that is said once, however many they are."""
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        step.log.info("before")
        step.event("STEP_MATERIALIZATION", "first odd one", {"label": 7})
        step.event("STEP_MATERIALIZATION", "second odd one", {"label": None})
        step.log.info("after")
    told = Told(instance, run.run_id)
    assert dense(told)
    assert told.types[2:6] == ["LOG_MESSAGE", "ENGINE_EVENT", "ENGINE_EVENT", "LOG_MESSAGE"]
    assert notes(told)[0].startswith("Dropped an event 'STEP_MATERIALIZATION': ")
    (first, second) = told.all("ENGINE_EVENT")
    assert json.loads(first.data)["metadataEntries"] == [{"label": "message", "text": "first odd one"}]
    assert json.loads(second.data)["metadataEntries"] == [{"label": "message", "text": "second odd one"}]
    assert told.status == "SUCCESS"
    assert capsys.readouterr().err.count("daglens: An event STEP_MATERIALIZATION was refused") == 1


@pytest.mark.parametrize("path", ["events", "", "events.99999", "events.x.data"])
def test_a_refusal_that_names_no_event(instance: Instance, gate: Gate, path: str) -> None:
    """When the server doesn't say which event it refuses, those that it takes are found and kept, in order."""

    def behave(request: Request) -> Answer:
        if request.field == "reportEvents" and any("bad" in e["message"] for e in request.variables["events"]):
            return invalid("reportEvents", path)
        return request.forward()

    gate.behave = behave
    run, texts = recorded(gate)
    told = Told(instance, run.run_id)
    assert dense(told)
    assert [e.message for e in told.all("LOG_MESSAGE")] == [text for text in texts if "good" in text]
    assert len(notes(told)) == 2
    assert told.types[2:7] == ["LOG_MESSAGE", "ENGINE_EVENT", "LOG_MESSAGE", "ENGINE_EVENT", "LOG_MESSAGE"]


@pytest.mark.parametrize(
    "refusal",
    [error("BAD_USER_INPUT", status=400), (413, "text/plain", b"Too large")],
    ids=["an unfit variable", "a body too large"],
)
def test_a_refusal_of_the_request(instance: Instance, gate: Gate, refusal: Answer) -> None:
    """So it is when the request as a whole is refused: by the schema, or by a proxy for its size."""

    def behave(request: Request) -> Answer:
        return (
            refusal
            if b"bad" in request.body and request.field == "reportEvents" and refuse(request)
            else (request.forward())
        )

    def refuse(request: Request) -> bool:
        return any(e["eventType"] == "LOG_MESSAGE" and "bad" in e["message"] for e in request.variables["events"])

    gate.behave = behave
    run, texts = recorded(gate)
    told = Told(instance, run.run_id)
    assert dense(told)
    assert [e.message for e in told.all("LOG_MESSAGE")] == [text for text in texts if "good" in text]
    assert len(notes(told)) == 2


def test_a_note_that_is_refused_too(instance: Instance, gate: Gate, capsys) -> None:
    """What the server takes in no form is left out, and the rest goes on."""

    def behave(request: Request) -> Answer:
        if request.field == "reportEvents":
            for index, event in enumerate(request.variables["events"]):
                if "bad" in json.dumps(event):
                    return invalid("reportEvents", f"events.{index}")
        return request.forward()

    gate.behave = behave
    run, texts = recorded(gate)
    told = Told(instance, run.run_id)
    assert dense(told)
    assert [e.message for e in told.all("LOG_MESSAGE")] == [text for text in texts if "good" in text]
    assert notes(told) == []
    assert told.status == "SUCCESS"
    assert "neither an event nor a note in its place" in capsys.readouterr().err


def test_a_refusal_is_stable(instance: Instance, gate: Gate) -> None:
    """When the answer to a note is lost, the note is sent again and stored once."""
    lost: list[Any] = []

    def behave(request: Request) -> Answer:
        answer = request.forward()
        if "Dropped an event" in request.body.decode() and not lost:
            lost.append(answer)
            return 502, "text/plain", b"Bad Gateway"
        return answer

    gate.behave = behave
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        step.event("STEP_MATERIALIZATION", "odd", {})
    told = Told(instance, run.run_id)
    assert lost
    assert dense(told)
    assert len(notes(told)) == 1


def test_a_bug_of_the_server_s_plug_in(instance: Instance, capsys) -> None:
    """Events at which the server itself fails again and again are replaced by notes; what comes behind goes on."""
    with serve_in_thread(choosy(instance)) as server, gate_to(server.url) as gate:
        run, texts = recorded(gate, 50)
    told = Told(instance, run.run_id)
    assert dense(told)
    assert [e.message for e in told.all("LOG_MESSAGE")] == [text for text in texts if "good" in text]
    assert [index for index, event_type in enumerate(told.types) if event_type == "ENGINE_EVENT"] == [3, 5]
    assert told.status == "SUCCESS"
    said = capsys.readouterr().err
    assert said.count("daglens: An event LOG_MESSAGE was refused") == 1


def test_a_bug_that_a_dead_recorder_met(
    instance: Instance, spool: SpoolFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is when a flush sends them, after the recorder ended."""
    monkeypatch.setattr(destination, "FINISH_AWAY_S", 0.0)
    with serve_in_thread(choosy(instance)) as server, gate_to(server.url) as gate:
        gate.fall()
        run, texts = recorded(gate)
        gate.raise_()
        assert [done.problem for done in flush(spool, Token.none(), pauses_s=(0.0, 0.0))] == [None]
    told = Told(instance, run.run_id)
    assert dense(told) and told.status == "SUCCESS"
    assert [e.message for e in told.all("LOG_MESSAGE")] == [text for text in texts if "good" in text]


@pytest.mark.parametrize("code", ["INTERNAL", "STORAGE_UNAVAILABLE"])
def test_a_server_that_fails_at_everything(instance: Instance, gate: Gate, code: str) -> None:
    """A server that fails at every event, and at the notes, too, is one that is away: nothing is dropped."""
    failed = threading.Event()
    tries: list[Request] = []

    def behave(request: Request) -> Answer:
        if request.field == "reportEvents" and not failed.is_set():
            tries.append(request)
            if len(tries) > 10:
                failed.set()
            return error(code, "It failed.")
        return request.forward()

    gate.behave = behave
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        for n in range(5):
            step.log.info("message %d", n)
        assert failed.wait(60)
    told = Told(instance, run.run_id)
    assert dense(told) and told.status == "SUCCESS"
    assert [e.message for e in told.all("LOG_MESSAGE")] == [f"message {n}" for n in range(5)]
    assert notes(told) == []


def test_a_time_that_no_server_takes(instance: Instance, gate: Gate) -> None:
    """An event whose time the API can't say is replaced by a note here already."""
    with daglens.start_run("p", to=gate.url) as run:
        run._recording.record(EventDraft("STEP_INPUT", message="odd", step_key="a", timestamp_us=2**70))
    told = Told(instance, run.run_id)
    assert (told.types, told.status) == (["RUN_START", "ENGINE_EVENT", "RUN_SUCCESS"], "SUCCESS")


def test_events_too_large_for_any_storage(instance: Instance, gate: Gate, capsys) -> None:
    """Data above 1 MiB is refused here already, as by an instance: a note takes its place."""
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        step.materialize("large", {"text": "x" * 1_100_000})
        step.materialize("small", {"text": "x"})
    told = Told(instance, run.run_id)
    assert dense(told)
    assert [json.loads(e.data)["label"] for e in told.all("STEP_MATERIALIZATION")] == ["small"]
    assert len(notes(told)) == 1


def test_large_events_go_in_requests_of_their_own(instance: Instance, gate: Gate) -> None:
    """Many large events don't make one request that no server takes."""
    with daglens.start_run("p", to=gate.url) as run, run.step("a") as step:
        for n in range(8):
            step.materialize(f"m{n}", {"text": "x" * 900_000})
    told = Told(instance, run.run_id)
    assert len(told.all("STEP_MATERIALIZATION")) == 8
    assert max(len(request.body) for request in gate.requests) < 2_500_000


def test_tags_that_the_server_refuses(instance: Instance, gate: Gate, capsys) -> None:
    """A run's first tags that can't be stored are left out, with a word; later ones too, and the run's log says so."""

    def behave(request: Request) -> Answer:
        if request.field == "createRun" and request.variables["input"].get("tags"):
            return invalid("createRun", "tags")
        return invalid("addRunTags", "tags") if request.field == "addRunTags" else request.forward()

    gate.behave = behave
    with daglens.start_run("p", to=gate.url, tags={"a": "b"}) as run:
        run.add_tags({"c": "d"})
        with run.step("a"):
            pass
    told = Told(instance, run.run_id)
    stored = instance.run(run.run_id)
    assert stored is not None and (stored.status, stored.tags) == ("SUCCESS", ())
    assert [note.startswith("Tags were not added") for note in notes(told)] == [True]
    said = capsys.readouterr().err
    assert said.count("without its tags and configuration") == 1
    assert said.count("Tags were not added") == 1


def test_a_run_that_the_server_refuses(gate: Gate, capsys, spool: SpoolFolder) -> None:
    """A run that can't be created in any form: said once; nothing is kept of it, and the pipeline goes on."""

    def behave(request: Request) -> Answer:
        return invalid("createRun", "runId") if request.field == "createRun" else request.forward()

    gate.behave = behave
    with daglens.start_run("p", to=gate.url) as run, run.step("a"):
        pass
    said = capsys.readouterr().err
    assert said.count("doesn't take run") == 1
    assert list(spool.runs.iterdir()) == []


def test_output_that_the_server_refuses(instance: Instance, gate: Gate, capsys) -> None:
    """A log that the server doesn't take (it is complete there) is left out; the run's log says so, events go on."""
    instance.create_run(NewRun("r", "p"))

    def behave(request: Request) -> Answer:
        if request.field == "appendComputeLog" and request.variables["input"]["ioType"] == "STDOUT":
            return invalid("appendComputeLog", "data", "COMPUTE_LOG_COMPLETE")
        return request.forward()

    gate.behave = behave
    with daglens.start_run("p", run_id="r", to=gate.url) as run, run.step("a"):
        print("output")
    told = Told(instance, "r")
    assert told.status == "SUCCESS"
    assert notes(told) == ["stdout of a, attempt 1, is not kept: No data."]
    assert capsys.readouterr().err.count("stdout of a, attempt 1, is not kept") == 1


def test_a_full_run(gate: Gate, capsys) -> None:
    """A run that holds no more events ends its recording, once said."""

    def behave(request: Request) -> Answer:
        if request.field == "reportEvents":
            return invalid("reportEvents", "events", "RUN_FULL")
        return request.forward()

    gate.behave = behave
    with daglens.start_run("p", to=gate.url) as run, run.step("a"):
        pass
    assert capsys.readouterr().err.count("Recording stops; the pipeline goes on.") == 1
