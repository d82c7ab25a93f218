"""Ends of numbers: the last seq, keys beyond 32 bits, and how far one filtered read looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.storage.errors import RunFull
from daglens.storage.records import MAX_SEQ, EventDraft, EventFilter, EventQuery, EventsOrder, NewRun
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage, event_reads

BEYOND_32_BITS = 2**40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "daglens.db")
    yield made
    made.close()


@pytest.fixture
def events(database: SqliteDatabase) -> SqliteEventLogStorage:
    return SqliteEventLogStorage(database)


def logged(*ids: str | None) -> list[EventDraft]:
    return [EventDraft("LOG_MESSAGE", event_id=event_id) for event_id in ids]


def end_at(database: SqliteDatabase, seq: int) -> None:
    """Make the log of r1 end at `seq`."""
    database.write(lambda connection: connection.execute("UPDATE event_heads SET last_seq = ?", (seq,)))


def test_run_is_full(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """The last seq is given out; what goes beyond is refused whole; a retry of what is there is still a duplicate."""
    events.append("r1", [])
    end_at(database, MAX_SEQ - 2)
    with pytest.raises(RunFull):
        events.append("r1", logged("a", "b", "c"))
    assert events.heads(["r1"])["r1"].last_seq == MAX_SEQ - 2
    assert events.append("r1", logged("a", "b")).last_seq == MAX_SEQ
    with pytest.raises(RunFull):
        events.append("r1", logged(None))
    assert events.append("r1", logged("b", "a")).duplicates == 2
    (page,) = events.read([EventQuery("r1", after_seq=MAX_SEQ - 1)])
    assert [event.seq for event in page.events] == [MAX_SEQ]
    (page,) = events.read([EventQuery("r1", order=EventsOrder.NEWEST_FIRST, limit=2)])
    assert [event.seq for event in page.events] == [MAX_SEQ, MAX_SEQ - 1]


def test_keys_beyond_32_bits(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """The run after the one of number 2^40 is written, read and deleted like any other."""
    events.append("r1", [])
    database.write(lambda connection: connection.execute("UPDATE event_heads SET run_key = ?", (BEYOND_32_BITS,)))
    events.append("r2", [EventDraft("STEP_START", step_key="s", event_id="a"), *logged("b")])
    key = database.read(
        lambda connection: connection.execute("SELECT run_key FROM event_heads WHERE run_id = 'r2'").fetchone()[0]
    )
    assert key == BEYOND_32_BITS + 1
    one, two = events.read([EventQuery("r2"), EventQuery("r2", filter=EventFilter(event_types=["STEP_START"]))])
    assert [len(one.events), len(two.events)] == [2, 1]
    assert [step.step_key for step in events.steps(["r2"])["r2"]] == ["s"]
    events.close_runs(["r2"])
    assert events.delete("r2") == 2


def test_changes_beyond_32_bits(database: SqliteDatabase) -> None:
    """The feed's counter has 64 bits."""
    runs = SqliteRunStorage(database)
    database.write(lambda connection: connection.execute("UPDATE run_feed SET last_change = ?", (BEYOND_32_BITS,)))
    position = runs.changes(None, 1).position
    runs.add(NewRun("r1", "nightly"))
    assert list(runs.changes(position, 10).changed) == ["r1"]


@pytest.mark.parametrize("order", list(EventsOrder))
def test_filtered_read_looks_so_far_and_says_where(
    events: SqliteEventLogStorage, monkeypatch: pytest.MonkeyPatch, order: EventsOrder
) -> None:
    """It stops without an event, says how far it came, and the walk goes on from there to the one that matches."""
    monkeypatch.setattr(event_reads, "MAX_EXAMINED", 10)
    rare = [EventDraft("RARE")]
    events.append("r1", [*rare, *logged(*[None] * 48), *rare])
    found, place, pages = [], None, 0
    while True:
        (page,) = events.read([EventQuery("r1", place, 5, EventFilter(event_types=["RARE"]), order)])
        found += [event.seq for event in page.events]
        pages += 1
        if not page.has_more:
            break
        assert page.through_seq != place
        place = page.through_seq
    assert sorted(found) == [1, 50]
    assert pages == 5


def test_many_filtered_queries(events: SqliteEventLogStorage) -> None:
    """More queries in one read than SQLite takes SELECTs in one statement."""
    for run in range(5):
        events.append(f"r{run}", [EventDraft("RARE"), *logged(None, None)])
    queries = [
        EventQuery(f"r{n % 6}", limit=n % 3, filter=EventFilter(event_types=["RARE", "LOG_MESSAGE"]))
        for n in range(1200)
    ]
    for query, answer in zip(queries, events.read(queries), strict=True):
        assert [event.seq for event in answer.events] == ([] if query.run_id == "r5" else [1, 2][: query.limit])


def test_space_of_deleted_events_goes_back_to_the_disk(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """The file is smaller after a large run was deleted."""
    events.append("kept", logged("a"))
    events.append("r1", [EventDraft("LOG_MESSAGE", message="x" * 20_000) for _ in range(1500)])

    def pages() -> int:
        count: int = database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
        return count

    before = pages()
    events.close_runs(["r1"])
    assert events.delete("r1") == 1500
    assert pages() < before / 2
    assert len(events.read([EventQuery("kept")])[0].events) == 1
