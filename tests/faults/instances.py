"""Instances that trials write to, and looks at what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import Appended, EventDraft, EventQuery, EventRecord, NewRun
from daglens.testing.server import LiveServer, serve_in_thread
from tests.live.conftest import QUICK
from tests.server.conftest import PATIENCE_S

EVENTS = '{ runEventsOrError(runId: "run", limit: 1000) { ... on EventPage { nodes { seq } } } }'


def postgres_home(folder: Path, url: str, schema: str, **settings: object) -> Path:
    """A folder whose dagster.yaml leads to PostgreSQL."""
    folder.mkdir(exist_ok=True)
    lines = [f"    {key}: {value}" for key, value in {"schema_name": schema, **settings}.items()]
    text = "\n".join(["storage:", "  postgres:", f"    postgres_url: '{url}'", *lines, ""])
    (folder / "dagster.yaml").write_text(text)
    return folder


@contextmanager
def opened(home: Path) -> Iterator[Instance]:
    """The instance of a folder, with the run `run`."""
    with Instance.open(home=home) as instance:
        instance.create_run(NewRun("run", "nightly"))
        yield instance


def batch(name: str, first: int, count: int, size: int = 1) -> list[EventDraft]:
    """Events `name:first`, `name:first+1`, … that can be sent again."""
    texts = [f"{name}:{number}" for number in range(first, first + count)]
    return [EventDraft("LOG_MESSAGE", message=text.ljust(size), event_id=text) for text in texts]


def log_of(instance: Instance, run_id: str = "run") -> list[EventRecord]:
    """Every event of the run, which is dense."""
    found: list[EventRecord] = []
    while True:
        (page,) = instance.events.read([EventQuery(run_id, after_seq=len(found) or None, limit=1000)])
        found += page.events
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        if not page.has_more:
            assert (page.head.last_seq if page.head else 0) == len(found)
            return found


def numbers_of(instance: Instance, name: str) -> list[int]:
    """What one writer has stored, in the order of the log."""
    parts = [event.message.strip().partition(":") for event in log_of(instance)]
    return [int(number) for writer, _, number in parts if writer == name]


def append_until_stored(instance: Instance, drafts: list[EventDraft]) -> Appended:
    """Append, again and again while the storage doesn't answer."""
    while True:
        try:
            return instance.append("run", drafts)
        except StorageUnavailable:
            continue


@contextmanager
def served(instance: Instance, **settings: Any) -> Iterator[LiveServer]:
    """A server of the instance, whose live feeds are quick."""
    with serve_in_thread(instance, replace(ServerSettings(live=QUICK, drain_s=2.0), **settings)) as server:
        yield server


def ask(server: LiveServer, query: str = EVENTS, **variables: Any) -> dict[str, Any]:
    """A GraphQL answer, which comes with status 200."""
    body = {"query": query, "variables": variables}
    answer = httpx.post(f"{server.url}/graphql", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def error_of(server: LiveServer, query: str = EVENTS, **variables: Any) -> dict[str, Any]:
    """The only error of an answer; it has an errorId."""
    (error,) = ask(server, query, **variables)["errors"]
    assert error["extensions"]["errorId"]
    found: dict[str, Any] = error
    return found


def others_work(server: LiveServer) -> None:
    """What asks no storage is answered."""
    assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE_S).json() == {"status": "ok"}
    assert ask(server, "{ version }")["data"]["version"]
