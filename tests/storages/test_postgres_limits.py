"""Ends of numbers and lengths: the last seq, keys beyond 32 bits, values longer than an index takes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from daglens.storage.errors import RunFull
from daglens.storage.postgres import (
    PostgresConfig,
    PostgresDatabase,
    PostgresEventLogStorage,
    PostgresRunStorage,
    event_reads,
)
from daglens.storage.postgres.database import Parameters, Rows
from daglens.storage.postgres.run_reads import VALUE_START
from daglens.storage.postgres.texts import text_array
from daglens.storage.records import (
    MAX_SEQ,
    EventDraft,
    EventFilter,
    EventQuery,
    EventSlice,
    EventsOrder,
    NewRun,
    RunFilter,
    TagFilter,
)
from tests.docs.snippets import marked
from tests.storages.postgres_server import PostgresServer

BEYOND_32_BITS = 2**40


@pytest.fixture
def database(postgres_config: PostgresConfig) -> Iterator[PostgresDatabase]:
    made = PostgresDatabase(postgres_config)
    yield made
    made.close()


@pytest.fixture
def events(database: PostgresDatabase) -> PostgresEventLogStorage:
    return PostgresEventLogStorage(database)


@pytest.fixture
def runs(database: PostgresDatabase) -> PostgresRunStorage:
    return PostgresRunStorage(database)


def logged(*ids: str | None) -> list[EventDraft]:
    return [EventDraft("LOG_MESSAGE", event_id=event_id) for event_id in ids]


def test_a_page_of_long_texts_comes_as_rows(
    database: PostgresDatabase, events: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page with a text that is long for it isn't gathered by the server, which would need four times its bytes: 4 GB
    for the largest page. It is the same page."""
    data = {"x": "\u00fc" * 11}  # 30 bytes as JSON, 19 characters
    events.append("r1", [EventDraft("LOG_MESSAGE", message="m" * 30), EventDraft("LOG_MESSAGE", data=data)])
    asked: list[str] = []
    # Besides there is what tells other processes of the events.
    database.on_message = lambda sql, parameters: asked.append(sql) if "MATERIALIZED" in sql else None
    queries = [EventQuery("r1", limit=2, order=order) for order in EventsOrder]
    expected = [*events.read(queries)]
    assert not any("string_agg" in sql for sql in asked)
    for most_bytes, gathered in ((60, True), (61, True), (59, False), (2, False), (0, False)):
        monkeypatch.setattr(event_reads, "MAX_GATHERED_BYTES", most_bytes)
        for query, found in zip(queries, expected, strict=True):
            asked.clear()
            assert [*events.read([query])] == [found]
            assert ["string_agg" in sql for sql in asked] == ([True] if gathered else [True, False])
    assert [len(found.events) for found in expected] == [2, 2]
    asked.clear()
    (whole,) = events.read([EventQuery("r1", limit=1_000_000)])
    assert whole.events == expected[0].events
    assert ["string_agg" in sql for sql in asked] == [False]


def test_a_log_that_goes_while_it_is_read(
    database: PostgresDatabase, events: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that has to be read twice is of the second moment, its head too: no head of a log whose events are gone,
    as if all of them had been examined."""
    events.append("r1", logged("odd \x1e", "b"))
    read = database.read

    def goes_after(template: str, parameters: Parameters) -> Rows:
        rows = read(template, parameters)
        if "string_agg" in template:
            for table in ("events", "event_steps", "event_heads"):
                database.write(f"DELETE FROM {{s}}.{table}", {}, repeatable=True)
        return rows

    monkeypatch.setattr(database, "read", goes_after)
    assert [*events.read([EventQuery("r1")])] == [EventSlice(None, [], 0, has_more=False)]


def test_run_is_full(postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage) -> None:
    """The last seq is given out; what goes beyond is refused whole; a retry of what is there is still a duplicate."""
    events.append("r1", [])
    postgres.execute(f"UPDATE {postgres_schema}.event_heads SET last_seq = {MAX_SEQ - 2}")
    step = EventDraft("STEP_START", step_key="s")
    for batch in (logged("a", "b", "c"), [step, step, step]):
        with pytest.raises(RunFull):
            events.append("r1", batch)
    assert events.heads(["r1"])["r1"].last_seq == MAX_SEQ - 2
    assert events.append("r1", logged("a", "b")).last_seq == MAX_SEQ
    with pytest.raises(RunFull):
        events.append("r1", logged(None))
    assert events.append("r1", logged("b", "a")).duplicates == 2
    (page,) = events.read([EventQuery("r1", after_seq=MAX_SEQ - 1)])
    assert [event.seq for event in page.events] == [MAX_SEQ]
    (page,) = events.read([EventQuery("r1", order=EventsOrder.NEWEST_FIRST, limit=2)])
    assert [event.seq for event in page.events] == [MAX_SEQ, MAX_SEQ - 1]


def test_keys_beyond_32_bits(postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage) -> None:
    """The run after the one of number 2^40 is written, read and deleted like any other."""
    postgres.execute(f"ALTER SEQUENCE {postgres_schema}.event_heads_run_key_seq RESTART WITH {BEYOND_32_BITS}")
    events.append("r2", [EventDraft("STEP_START", step_key="s", event_id="a"), *logged("b")])
    assert events.append("r2", logged("b", "c")).duplicates == 1
    assert postgres.execute(f"SELECT DISTINCT run_key FROM {postgres_schema}.events") == [(BEYOND_32_BITS,)]
    one, two = events.read([EventQuery("r2"), EventQuery("r2", filter=EventFilter(event_types=["STEP_START"]))])
    assert [len(one.events), len(two.events)] == [3, 1]
    assert [step.step_key for step in events.steps(["r2"])["r2"]] == ["s"]
    events.close_runs(["r2"])
    assert events.delete("r2") == 3


def test_changes_beyond_32_bits(postgres: PostgresServer, postgres_schema: str, runs: PostgresRunStorage) -> None:
    """The feed's counter has 64 bits."""
    runs.add(NewRun("r0", "nightly"))
    postgres.execute(f"UPDATE {postgres_schema}.run_feed SET last_change = {BEYOND_32_BITS}")
    position = runs.changes(None, 1).position
    runs.add(NewRun("r1", "nightly"))
    assert list(runs.changes(position, 10).changed) == ["r1"]


@pytest.mark.parametrize("order", list(EventsOrder))
@pytest.mark.parametrize("together", [False, True])
def test_filtered_read_looks_so_far_and_says_where(
    events: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch, order: EventsOrder, together: bool
) -> None:
    """It stops without an event, says how far it came, and the walk goes on from there to the one that matches."""
    monkeypatch.setattr(event_reads, "MAX_EXAMINED", 10)
    rare = [EventDraft("RARE")]
    events.append("r1", [*rare, *logged(*[None] * 48), *rare])
    found, place, pages = [], None, 0
    while True:
        query = EventQuery("r1", place, 5, EventFilter(event_types=["RARE"]), order)
        page = events.read([query, query] if together else [query])[-1]
        found += [event.seq for event in page.events]
        pages += 1
        if not page.has_more:
            break
        assert page.through_seq != place
        place = page.through_seq
    assert sorted(found) == [1, 50]
    assert pages == 5


@pytest.mark.parametrize("place", [-(2**63), -1, 0, 2**31, 2**63 - 1, 2**70])
@pytest.mark.parametrize("filter", [None, EventFilter(min_level=10)])
def test_cursors_far_away(events: PostgresEventLogStorage, place: int, filter: EventFilter | None) -> None:
    """A place before the first event or far beyond the last reads as one: all events or none, forward or backward."""
    events.append("r1", logged(None, None, None))
    for queries in (1, 2):
        up = events.read([EventQuery("r1", place, 10, filter)] * queries)[0]
        down = events.read([EventQuery("r1", place, 10, filter, EventsOrder.NEWEST_FIRST)] * queries)[0]
        assert [event.seq for event in up.events] == ([1, 2, 3] if place <= 0 else [])
        assert [event.seq for event in down.events] == ([] if place <= 0 else [3, 2, 1])
        assert not up.has_more
        assert not down.has_more


def test_many_filtered_queries(events: PostgresEventLogStorage) -> None:
    """Hundreds of queries with filters in one read, some of the same run, of none, and of what can be none."""
    for run in range(5):
        events.append(f"r{run}", [EventDraft("RARE"), *logged(None, None)])
    names = [*(f"r{n}" for n in range(6)), "a\0b"]
    queries = [
        EventQuery(
            names[n % 7], limit=n % 3, filter=EventFilter(event_types=["RARE", "LOG_MESSAGE"]) if n % 2 else None
        )
        for n in range(400)
    ]
    for query, answer in zip(queries, events.read(queries), strict=True):
        there = query.run_id not in ("r5", "a\0b")
        assert [event.seq for event in answer.events] == ([1, 2][: query.limit] if there else [])
        assert (answer.head is not None) is there


def test_longest_names_with_a_long_value(runs: PostgresRunStorage) -> None:
    """Key, value and run id as long as may be, of characters that don't compress: they are stored and found."""
    chosen = random.Random(7)

    def text(length: int) -> str:
        return "".join(chr(chosen.randint(0x10000, 0x1FFFF)) for _ in range(length))

    run_id, key, value, pipeline = text(255), text(255), text(5000), text(255)
    runs.add(NewRun(run_id, pipeline, tags=((key, value),), parent_run_id=run_id, root_run_id=run_id))
    for filter in (
        RunFilter(tags=[TagFilter(key, value)]),
        RunFilter(tags=[TagFilter(key)]),
        RunFilter(pipeline_names=[pipeline]),
        RunFilter(parent_run_id=run_id),
    ):
        assert [run.run_id for run in runs.page(filter).runs] == [run_id]
    assert list(runs.tag_values(key, "", 10)) == [value]


def test_values_that_begin_alike(runs: PostgresRunStorage) -> None:
    """Values that are equal as far as the index looks are told apart: in filters, and in completions by any prefix."""
    start = "x" * VALUE_START
    values = sorted(["x", start[:-1], start, start + "a", start + "ab", start + "b", start + "é", "y", "x" * 500])
    for n, value in enumerate((*values, *values)):
        runs.add(NewRun(f"r{n}", "nightly", tags=(("k", value),)))
    for n, value in enumerate(values):
        found = runs.page(RunFilter(tags=[TagFilter("k", value)]), newest_first=False).runs
        assert [run.run_id for run in found] == [f"r{n}", f"r{n + len(values)}"]
    for prefix in ("", "x", start[:-1], start, start + "a", start + "b", start + "c", "x" * 300, "y", "z"):
        expected = [value for value in values if value.startswith(prefix)]
        assert list(runs.tag_values("k", prefix, 100)) == expected, prefix
        assert list(runs.tag_values("k", prefix, 2)) == expected[:2], prefix


def test_event_table_may_be_partitioned(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage
) -> None:
    """By the statements of docs/postgres.md: logs go on where they stood, retries are known, deletion empties them."""
    for run in range(8):
        events.append(f"r{run}", [EventDraft("STEP_START", step_key="s", event_id="a"), *logged("b", None)])
    before = events.read([EventQuery(f"r{run}") for run in range(8)])
    (block,) = marked("docs/postgres.md", "partitions")
    postgres.execute(re.sub(r"\bdaglens\.", f"{postgres_schema}.", block.text))
    assert events.read([EventQuery(f"r{run}") for run in range(8)]) == before
    for run in range(8):
        assert events.append(f"r{run}", logged("b", "c")).accepted == 1
        assert events.append(f"r{run}", [EventDraft("STEP_SUCCESS", step_key="s", event_id="d")]).first_seq == 5
    used = postgres.execute(f"SELECT DISTINCT tableoid::regclass::text FROM {postgres_schema}.events")
    assert 1 < len(used) <= 4
    events.close_runs(["r1"])
    assert events.delete("r1") == 5
    assert [len(page.events) for page in events.read([EventQuery("r1"), EventQuery("r2")])] == [0, 5]


@pytest.mark.parametrize(
    "texts", [[], [""], ["NULL", "{a,b}"], ['"', "\\", '\\"', " a\n\t"], [None, "ä, \"b\" 'c' \\"], [None]]
)
def test_lists_of_texts(postgres_config: PostgresConfig, texts: list[str | None]) -> None:
    """They come out as they went in, whatever is in them."""
    database = PostgresDatabase(postgres_config)
    try:
        assert database.read("SELECT %(texts)s::text[]", {"texts": text_array(texts)}) == [(texts,)]
    finally:
        database.close()


def test_text_with_a_nul() -> None:
    """It would be two, and shift what stands behind it into the wrong rows."""
    with pytest.raises(ValueError, match="NUL"):
        text_array(["a", "b\0c"])
