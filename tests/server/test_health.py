"""Health: the process lives, the storages answer; a storage that sleeps holds up only those who ask it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest

from daglens.instance import Instance
from daglens.storage.records import Health
from daglens.testing.faults import Hanging
from tests.server.conftest import Serve, create, opened

SECTIONS = {
    "runs": "run_storage",
    "events": "event_log_storage",
    "compute_logs": "compute_logs",
    "artifacts": "local_artifact_storage",
}


@pytest.mark.fault("plugin_hangs")
@pytest.mark.parametrize("part", ["runs", "events", "compute_logs", "artifacts"])
def test_sleeping_storage_holds_up_nobody_else(serve: Serve, instance: Instance, part: str) -> None:
    """While every call of a storage hangs, health, other queries and sockets are answered (weaknesses 20)."""
    create(instance)
    held = Hanging(getattr(instance, part))
    parts: Any = {part: held}
    server = serve(replace(instance, **parts), ready_timeout_s=0.05, upkeep_s=3600.0)
    queries = {
        "runs": "{ runsOrError { __typename } }",
        "events": '{ runEventsOrError(runId: "run") { __typename } }',
        "compute_logs": '{ runOrError(runId: "run") { ... on Run { computeLogs { stepKey } } } }',
        "artifacts": '{ runOrError(runId: "run") { ... on Run { artifacts { hasMore } } } }',
    }
    answers: list[int] = []

    def ask() -> None:
        answers.append(httpx.post(f"{server.url}/graphql", json={"query": queries[part]}, timeout=60).status_code)

    askers = [threading.Thread(target=ask) for _ in range(20)]
    for asker in askers:
        asker.start()
    held.wait_for_call()
    assert httpx.get(f"{server.url}/healthz", timeout=60).json() == {"status": "ok"}
    assert httpx.post(f"{server.url}/graphql", json={"query": "{ version }"}, timeout=60).json()["data"]["version"]
    with opened(server) as socket:
        socket.start("{ version }")
        assert socket.result()["data"]["version"]
    ready = httpx.get(f"{server.url}/readyz", timeout=60)
    assert ready.status_code == 503
    # On a loaded machine others may be late, too.
    assert ready.json()["problems"][SECTIONS[part]] == "The storage has not answered for 0.05 s."
    assert answers == []  # all of this before the storage answered anybody
    held.released.set()
    for asker in askers:
        asker.join()
    assert answers == [200] * 20


def test_ready(serve: Serve, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/readyz` is 200 while all storages are healthy, else 503 with what is wrong with which."""
    server = serve()
    assert httpx.get(f"{server.url}/readyz").json() == {"status": "ok"}
    monkeypatch.setattr(type(instance.events), "health", lambda self: Health(False, "The disk is full. Free some."))

    def fail(self: object) -> Health:
        raise RuntimeError("quux")

    monkeypatch.setattr(type(instance.runs), "health", fail)
    answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["problems"]) == {"run_storage", "event_log_storage"}
    assert answer.json()["problems"]["event_log_storage"] == "The disk is full. Free some."
    assert "quux" not in answer.text
    assert httpx.get(f"{server.url}/healthz").status_code == 200
