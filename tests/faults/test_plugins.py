"""Storage plug-ins that raise, hang or lie."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from daglens.instance import Instance
from daglens.storage.records import EventDraft, Head, NewRun, RunSlice
from daglens.testing.faults import InFront, hanging, raising
from tests.acceptance.programs import PATIENCE_S
from tests.faults.conftest import Trial
from tests.faults.instances import ask, batch, error_of, log_of, opened, others_work, served
from tests.server.conftest import EVENTS as LIVE
from tests.server.conftest import opened as socket_to
from tests.storages.children import start

QUERIES = {
    "runs": "{ runsOrError { ... on RunPage { nodes { runId } hasMore } } }",
    "events": '{ runEventsOrError(runId: "run") { ... on EventPage { nodes { seq } } } }',
    "compute_logs": '{ runOrError(runId: "run") { ... on Run { computeLogs { stepKey } } } }',
    "artifacts": '{ runOrError(runId: "run") { ... on Run { artifacts { hasMore } } } }',
}
SECTIONS = {
    "runs": "run_storage",
    "events": "event_log_storage",
    "compute_logs": "compute_logs",
    "artifacts": "local_artifact_storage",
}
PARTS = list(SECTIONS)


def with_part(instance: Instance, part: str, storage: Any) -> Instance:
    """The instance with another storage in the place of one of its four."""
    changes: dict[str, Any] = {part: storage}
    return replace(instance, **changes)


@pytest.mark.fault("plugin_raises")
def test_raises(trial: Trial, tmp_path: Path) -> None:
    """The error names the section and has an errorId, all else is answered, and afterwards everything is there."""
    part = trial.random.choice(PARTS)
    stored = trial.random.randint(1, 50)
    raised = trial.random.choice([KeyError("odd"), ValueError("x"), RecursionError(), MemoryError(), OSError(5, "io")])
    with opened(tmp_path) as instance:
        instance.append("run", batch("w", 0, stored))
        faulty = raising(getattr(instance, part), lambda name: raised)
        with served(with_part(instance, part, faulty), upkeep_s=3600.0) as server:
            error = error_of(server, QUERIES[part])
            trial.saw(error["message"])
            assert SECTIONS[part] in error["message"]
            others_work(server)
            assert set(httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).json()["problems"]) == {SECTIONS[part]}
            faulty.heal()
            assert ask(server, QUERIES[part])["data"]
        trial.kept(stored, len(log_of(instance)))


@pytest.mark.fault("plugin_hangs")
def test_hangs(trial: Trial, tmp_path: Path) -> None:
    """Health is answered while every call of a storage hangs, readiness says which; afterwards who waited is answered
    and everything is there."""
    part = trial.random.choice(PARTS)
    askers = trial.random.randint(1, 30)
    answers: list[dict[str, Any]] = []
    with opened(tmp_path) as instance:
        instance.append("run", batch("w", 0, 10))
        with (
            hanging(getattr(instance, part)) as held,
            served(with_part(instance, part, held), upkeep_s=3600.0, ready_timeout_s=0.05) as server,
        ):
            threads = [
                threading.Thread(target=lambda: answers.append(ask(server, QUERIES[part]))) for _ in range(askers)
            ]
            for thread in threads:
                thread.start()
            held.wait_for_call()
            others_work(server)
            with socket_to(server) as socket:
                socket.start("{ version }")
                assert socket.result()["data"]["version"]
            problems = httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).json()["problems"]
            trial.saw(problems[SECTIONS[part]])
            assert answers == []
            held.released.set()
            for thread in threads:
                thread.join()
        assert len(answers) == askers and all("errors" not in answer for answer in answers)
        trial.kept(10, len(log_of(instance)))


# A server on storages in memory, one of which never returns; it is as patient as a test can wait.
SERVER = """
import threading
from dataclasses import replace
from daglens.instance import Instance
from daglens.server import last_resort, serve
from daglens.server.settings import ServerSettings
from daglens.storage.memory import InMemoryRunStorage

class Hangs(InMemoryRunStorage):
    def page(self, *args, **kwargs):
        threading.Event().wait()
    changes = get = count = health = add = now_us = page

last_resort.GRACE_S = 0.5
of = ServerSettings.of
ServerSettings.of = staticmethod(lambda *args, **kwargs: replace(of(*args, **kwargs), drain_s=0.5))
serve.run(
    lambda: replace(Instance.ephemeral(), runs=Hangs()),
    port=0,
    announce=lambda url, instance: print(url, flush=True),
)
"""


@pytest.mark.fault("plugin_hangs")
def test_server_with_a_plugin_that_hangs_ends() -> None:
    """A server whose storage never returns says that it lives, and ends when it is told to."""
    server = start(SERVER)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/graphql", json={"query": QUERIES["runs"]}, timeout=0.2)
    assert httpx.get(f"{url}/healthz", timeout=PATIENCE_S).json() == {"status": "ok"}
    server.send_signal(signal.SIGTERM)
    _, said = server.communicate(timeout=PATIENCE_S)
    assert server.returncode == 1
    assert "A storage has not returned" in said


def _edit(method: str, change: Callable[[Any], Any]) -> Callable[[str, Callable[[], Any]], Any]:
    return lambda name, call: change(call()) if name == method else call()


def _slice(**changes: Any) -> Callable[[Any], Any]:
    return lambda slices: [one._replace(**changes) for one in slices]


def _without_second(slices: Any) -> Any:
    return [one._replace(events=[*one.events[:1], *one.events[2:]]) for one in slices]


def _records(**changes: Any) -> Callable[[Any], Any]:
    return lambda slices: [one._replace(events=[e._replace(**changes) for e in one.events]) for one in slices]


# What a lying storage makes of its right answers, by part and what is wrong.
LIES: dict[tuple[str, str], Callable[[str, Callable[[], Any]], Any]] = {
    ("events", "a gap"): _edit("read", _without_second),
    ("events", "none"): _edit("read", lambda slices: None),
    ("events", "a mapping"): _edit("read", lambda slices: dict(enumerate(slices))),
    ("events", "too few slices"): _edit("read", lambda slices: []),
    ("events", "dictionaries"): _edit("read", lambda slices: [{"events": []} for _ in slices]),
    ("events", "seqs of text"): _edit("read", _records(seq="1")),
    ("events", "one seq for all"): _edit("read", _records(seq=1)),
    ("events", "another run"): _edit("read", _records(run_id="other")),
    ("events", "messages that are bytes"): _edit("read", _records(message=b"m")),
    ("events", "data that isn't text"): _edit("read", _records(data={"a": 1})),
    ("events", "backwards"): _edit("read", lambda slices: [s._replace(events=s.events[::-1]) for s in slices]),
    ("events", "more without an end"): _edit("read", _slice(events=(), has_more=True, through_seq=0)),
    ("events", "nothing more, too early"): _edit("read", _slice(events=(), has_more=False, through_seq=0)),
    ("events", "no head"): _edit("read", _slice(head=None)),
    ("events", "a head of another run"): _edit("read", _slice(head=Head("other", "0" * 16, 100))),
    ("runs", "none"): _edit("page", lambda page: None),
    ("runs", "a list"): _edit("page", lambda page: list(page.runs)),
    ("runs", "a status of text"): _edit(
        "page", lambda page: page._replace(runs=[run._replace(status="STARTED") for run in page.runs])
    ),
    ("runs", "each run twice"): _edit("page", lambda page: page._replace(runs=[*page.runs, *page.runs])),
    ("runs", "more without an end"): _edit("page", lambda page: RunSlice((), has_more=True)),
    ("runs", "more than asked for"): _edit("page", lambda page: page._replace(runs=list(page.runs) * 1001)),
    ("compute_logs", "a list"): _edit("list", lambda files: list(files)),
    ("compute_logs", "another run's"): _edit("list", lambda files: {"other": ()}),
    ("artifacts", "none"): _edit("list", lambda files: None),
    ("artifacts", "more without an end"): _edit("list", lambda files: files._replace(artifacts=(), has_more=True)),
}


@pytest.mark.fault("plugin_lies")
def test_lies(trial: Trial, tmp_path: Path) -> None:
    """Each lie is an error with an errorId that names the storage; nothing false is passed on, all else goes on."""
    stored = trial.random.randint(3, 50)
    with Instance.ephemeral() as instance:
        instance.create_run(NewRun("run", "nightly"))
        instance.append("run", batch("w", 0, stored))
        liars = {part: InFront(getattr(instance, part)) for part in PARTS}
        lying: dict[str, Any] = dict(liars)
        with served(replace(instance, **lying), upkeep_s=3600.0) as server:
            for (part, _), lie in LIES.items():
                liars[part].around = lie
                error = error_of(server, QUERIES[part])
                trial.saw(error["message"])
                assert error["extensions"]["code"] == "STORAGE_CONTRACT_BROKEN"
                assert f"{SECTIONS[part]} (daglens.testing.faults.storages.InFront)" in error["message"]
                others_work(server)
                liars[part].heal()
                assert "errors" not in ask(server, QUERIES[part])
            trial.kept(stored, len(log_of(instance)))


@pytest.mark.fault("plugin_lies")
def test_live_feed_of_a_liar(trial: Trial) -> None:
    """A live feed ends with the error instead of waiting for ever; from its last cursor it goes on when the storage is
    right again, and nothing is missing."""
    lie = trial.random.choice([lie for (part, _), lie in LIES.items() if part == "events"])
    before = trial.random.randint(3, 50)
    with Instance.ephemeral() as instance:
        instance.create_run(NewRun("run", "nightly"))
        instance.append("run", batch("w", 0, before))
        liar = InFront(instance.events)
        with served(with_part(instance, "events", liar), upkeep_s=3600.0) as server, socket_to(server) as socket:
            socket.start(LIVE, variables={"runId": "run"})
            got: list[int] = []
            cursor = None
            while len(got) < before:
                found = socket.result()["data"]["runEvents"]
                got, cursor = [*got, *(event["seq"] for event in found["events"])], found["cursor"]
            liar.around = lie
            more(instance)
            while (message := socket.receive())["type"] == "next" and "errors" not in message["payload"]:
                found = message["payload"]["data"]["runEvents"]
                got, cursor = [*got, *(event["seq"] for event in found["events"])], found["cursor"]
                # A read that began before the lie may have given all there was, and then nothing is read any more.
                more(instance)
            payload = message["payload"]
            error = (payload if message["type"] == "error" else payload["errors"])[0]
            trial.saw(error["message"])
            assert error["extensions"]["errorId"]
            liar.heal()
        with served(instance) as server, socket_to(server) as socket:
            socket.start(LIVE, variables={"runId": "run", "after": cursor})
            stored = len(log_of(instance))
            while len(got) < stored:
                got += [event["seq"] for event in socket.result()["data"]["runEvents"]["events"]]
        assert got == list(range(1, stored + 1))
        assert stored >= before + 5
        trial.kept(stored, len(got))


def more(instance: Instance) -> None:
    """Write what a live feed is to deliver."""
    instance.append("run", [EventDraft("LOG_MESSAGE", message="more") for _ in range(5)])
