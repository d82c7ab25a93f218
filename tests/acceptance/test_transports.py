"""Transports × storages: by each transport a client walks a run's whole log, and goes on from any cursor of another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.storage.records import EventDraft, LogLevel, NewRun
from daglens.testing.server import LiveServer, serve_in_thread
from tests.acceptance.conftest import TeamHome
from tests.acceptance.followers import LAST, TRANSPORTS, Batch, Follower
from tests.server.conftest import until

STORAGES = ["memory", "SQLite", "Postgres"]
LEVELS = list(LogLevel)


@pytest.fixture(params=STORAGES)
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    """One on each kind of storage."""
    if request.param == "Postgres":
        home: TeamHome = request.getfixturevalue("team_home")
        opened = Instance.open(home=home.path)
    else:
        opened = Instance.ephemeral() if request.param == "memory" else Instance.open(home=tmp_path / "sqlite")
    with opened:
        yield opened


@pytest.fixture
def server(instance: Instance) -> Iterator[LiveServer]:
    """A server of it, as users have it."""
    with serve_in_thread(instance) as served:
        yield served


def write(instance: Instance, count: int) -> None:
    """Store some events of several kinds."""
    drafts = [EventDraft("STEP_START", step_key=f"s{n}") if n % 7 == 0 else message(n) for n in range(count)]
    instance.append("run", drafts)


def message(number: int) -> EventDraft:
    return EventDraft(
        "LOG_MESSAGE", message=f"ünïcödé {number} " + "x" * (number % 50), level=LEVELS[number % len(LEVELS)]
    )


@contextmanager
def walking(name: str, server: LiveServer, after: str | None = None) -> Iterator[Iterator[Batch]]:
    with closing(TRANSPORTS[name](server.url, "run", after)) as batches:  # type: ignore[type-var]
        yield batches


def test_walks_while_it_is_written(server: LiveServer, instance: Instance) -> None:
    """By every transport at once: history first, then what is written meanwhile, up to the run's end; each is given the
    same events with the same values, in order, none twice and none skipped."""
    instance.create_run(NewRun("run", "nightly"))
    write(instance, 1500)
    followers = {name: Follower(walk, [server.url], "run") for name, walk in TRANSPORTS.items()}
    for follower in followers.values():
        follower.wait_for(1)
    for number in range(1, 40):
        write(instance, number % 5)
    instance.append("run", [EventDraft(LAST)])
    walks: dict[str, list[dict[str, Any]]] = {name: follower.whole() for name, follower in followers.items()}
    first, *others = walks.values()
    head = instance.events.heads(["run"])["run"]
    assert [event["seq"] for event in first] == list(range(1, head.last_seq + 1))
    for other in others:
        assert other == first
    assert all((follower.lost, follower.unavailable) == (0, 0) for follower in followers.values())
    until(lambda: server.on_loop(lambda: server.hub.viewers) == 0)


def test_resumes_with_any_transport(server: LiveServer, instance: Instance) -> None:
    """A walk that changes its transport at every batch, going on with the last cursor of a batch or of an event,
    is given each event once."""
    instance.create_run(NewRun("run", "nightly"))
    write(instance, 2500)
    instance.append("run", [EventDraft(LAST)])
    with walking("pages", server) as batches:
        expected: list[dict[str, Any]] = []
        while not expected or expected[-1]["eventType"] != LAST:
            expected += next(batches).events
    chosen = random.Random(8)
    got: list[dict[str, Any]] = []
    after: str | None = None
    names = list(TRANSPORTS)
    while not got or got[-1]["eventType"] != LAST:
        with walking(names[0], server, after) as batches:
            batch = next(batches)
            while not batch.events:
                batch = next(batches)
        names.append(names.pop(0))
        kept = chosen.randint(1, len(batch.events)) if len(batch.events) > 5 else len(batch.events)
        got += batch.events[:kept]
        after = batch.cursor if kept == len(batch.events) else batch.events[kept - 1]["cursor"]
    assert got == expected
