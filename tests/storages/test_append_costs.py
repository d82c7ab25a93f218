"""What storing an event costs, in numbers that are the same on a busy machine: statements, calls, bytes."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.memory import InMemoryEventLogStorage
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.records import EventDraft
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage
from tests.storages.sqlite_plans import statements_of


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "daglens.db", durability="normal")
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def events(request: pytest.FixtureRequest) -> Iterator[EventLogStorage]:
    if request.param == "memory":
        yield InMemoryEventLogStorage()
    elif request.param == "sqlite":
        yield SqliteEventLogStorage(request.getfixturevalue("sqlite"))
    else:
        config: PostgresConfig = request.getfixturevalue("postgres_config")
        database = PostgresDatabase(config)
        yield PostgresEventLogStorage(database)
        database.close()


def drafts(first: int, count: int) -> list[EventDraft]:
    """Log messages with ids, and an output among every ten."""
    return [
        EventDraft(
            "STEP_OUTPUT" if n % 10 == 0 else "LOG_MESSAGE",
            step_key="extract",
            message=f"row {n:06} of the table was read",
            event_id=f"{n:032x}",
            data={"rows": n, "label": "orders"},
        )
        for n in range(first, first + count)
    ]


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called in this thread, those in C included."""
    calls = 0

    def count(frame: FrameType, what: str, argument: object) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


# For one more event of a batch, and for one alone. Measured: 23.4 and 85, 18.0 and 79, 18.3 and 182.
MOST_CALLS = {
    InMemoryEventLogStorage: (26, 100),
    SqliteEventLogStorage: (21, 95),
    PostgresEventLogStorage: (21, 210),
}


def test_calls_per_event(events: EventLogStorage) -> None:
    """Functions that are called, Python's and C's."""
    per_event, alone = MOST_CALLS[type(events)]
    events.append("r1", drafts(0, 10))
    # Postgres prepares its statement of each kind first.
    events.append("r1", drafts(10, 10))
    events.append("r1", drafts(21, 1))
    few, many = drafts(22, 100), drafts(122, 1100)
    calls = calls_of(lambda: events.append("r1", many)) - calls_of(lambda: events.append("r1", few))
    assert calls <= 1000 * per_event
    assert calls_of(lambda: events.append("r1", drafts(1231, 1))) <= alone


def test_single_event_is_three_statements(sqlite: SqliteDatabase) -> None:
    """The head is read, the event stored, the head moved; a step event looks at its step, a count moves it."""
    events = SqliteEventLogStorage(sqlite)
    events.append("r1", [EventDraft("STEP_START", step_key="s")])

    def count(event_type: str) -> int:
        return len(statements_of(sqlite, lambda: events.append("r1", [EventDraft(event_type, step_key="s")])))

    assert [count(kind) for kind in ("LOG_MESSAGE", "STEP_OUTPUT", "STEP_MATERIALIZATION")] == [3, 4, 5]


def test_bytes_per_event(sqlite: SqliteDatabase) -> None:
    """An event takes its texts (120 bytes here), its id once more for the index, and 70 bytes beside them."""
    events = SqliteEventLogStorage(sqlite)
    events.append("r1", [])

    def pages() -> int:
        with sqlite3.connect(sqlite.path) as connection:
            found: int = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.close()
        return found

    before = pages()
    for first in range(0, 5000, 500):
        events.append("r1", drafts(first, 500))
    assert (pages() - before) * 4096 / 5000 <= 225
