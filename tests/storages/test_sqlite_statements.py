"""As many statements for a hundred runs as for one; and no more connections than the pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daglens.storage.records import EventDraft, EventQuery, EventsOrder, NewRun, RunFilter
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from daglens.storage.sqlite.database import POOL_SIZE
from daglens.testing.threads import DEADLINE_S, together
from tests.storages.sqlite_plans import statements_of

IDS = [f"r{n}" for n in range(100)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "daglens.db", durability="normal")
    runs, events = SqliteRunStorage(made), SqliteEventLogStorage(made)
    for run_id in IDS:
        runs.add(NewRun(run_id, "nightly", tags=(("team", "core"),)))
        events.append(run_id, [EventDraft("RUN_START"), EventDraft("STEP_START", step_key="s")])
    yield made
    made.close()


ASK: dict[str, Callable[[SqliteRunStorage, SqliteEventLogStorage, list[str]], object]] = {
    "get": lambda runs, events, ids: runs.get(ids),
    "page": lambda runs, events, ids: runs.page(RunFilter(), limit=len(ids)),
    "heads": lambda runs, events, ids: events.heads(ids),
    "steps": lambda runs, events, ids: events.steps(ids),
    "read": lambda runs, events, ids: events.read([EventQuery(run_id, limit=10) for run_id in ids]),
    "read last": lambda runs, events, ids: events.read(
        [EventQuery(run_id, limit=10, order=EventsOrder.NEWEST_FIRST) for run_id in ids]
    ),
}


@pytest.mark.parametrize("name", ASK)
def test_statements_are_constant(database: SqliteDatabase, name: str) -> None:
    """One run or a hundred: the same number, and few."""
    runs, events = SqliteRunStorage(database), SqliteEventLogStorage(database)
    one = statements_of(database, lambda: ASK[name](runs, events, IDS[:1]))
    hundred = statements_of(database, lambda: ASK[name](runs, events, IDS))
    assert len(one) == len(hundred) <= 2


def test_append_is_few_statements(database: SqliteDatabase) -> None:
    """Head, event, head again; a hundred events are one statement more often executed, not more statements."""
    events = SqliteEventLogStorage(database)
    statements = statements_of(
        database, lambda: events.append("r1", [EventDraft("LOG_MESSAGE", event_id=str(n)) for n in range(100)])
    )
    assert len({statement.split("VALUES")[0] for statement in statements}) == 3


def test_readers_are_bounded(database: SqliteDatabase) -> None:
    """Fifty threads read; never more than the pool's connections are at work, and all get their answer."""
    at_work, most = 0, 0
    lock = threading.Lock()
    full = threading.Event()

    def look(connection: object) -> bool:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            if at_work == POOL_SIZE:
                full.set()
        answer = full.wait(DEADLINE_S)
        with lock:
            at_work -= 1
        return answer

    assert together([lambda: database.read(look)] * 50) == [True] * 50
    assert most == POOL_SIZE


def test_writers_of_one_process_take_turns(database: SqliteDatabase) -> None:
    """Threads that append at once to one run leave it dense, and each append is whole."""
    events = SqliteEventLogStorage(database)
    drafts = [EventDraft("LOG_MESSAGE")] * 5
    appended = together([lambda: events.append("shared", drafts)] * 16)
    assert sorted(answer.first_seq or 0 for answer in appended) == list(range(1, 81, 5))
