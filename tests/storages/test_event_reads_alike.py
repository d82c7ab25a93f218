"""Whatever is asked of whatever log, SQLite and PostgreSQL answer as the in-memory storage does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daglens.storage.contract import EventLogStorage
from daglens.storage.memory import InMemoryEventLogStorage
from daglens.storage.postgres import PostgresDatabase, PostgresEventLogStorage, event_reads
from daglens.storage.records import EventDraft, EventFilter, EventQuery, EventSlice, EventsOrder
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage
from daglens.testing import Clock
from tests.storages.postgres_server import PostgresServer, config_for, drop, set_up

# The odd ones hold what stands between texts that come as one.
RUNS = {"plain": 30, "odd \x1e": 12, "closed": 20, "gone": 5, "one": 1, "empty": 0}
TYPES, ODD_TYPES = ("LOG_MESSAGE", "STEP_START"), ("LOG_MESSAGE", "a\x1eb", "\x1e")
STEPS, ODD_STEPS = (None, "extract", "load"), (None, "extract", "s\x1e")
MESSAGES = ("", "plain", "é\n\t", "\x1f\"\\'{}[]", "null", "0", "\U0001f600", "long" * 500)
DATA: tuple[dict[str, Any], ...] = ({}, {"attempt": 1}, {"text": "\x1e\0\U0001f600"}, {"long": "é" * 900})


@pytest.fixture(scope="module")
def storages(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EventLogStorage, ...]]:
    """The same logs in all three, one of them being deleted. A page of a few long texts is a large one here."""
    clock = Clock(1_800_000_000_000_000)
    set_up(postgres, "alike")
    lite = SqliteDatabase(tmp_path_factory.mktemp("alike") / "daglens.db", durability="normal")
    server = PostgresDatabase(config_for(postgres.url, "alike"))
    made = (
        InMemoryEventLogStorage(clock=clock),
        SqliteEventLogStorage(lite, clock=clock),
        PostgresEventLogStorage(server, clock=clock),
    )
    dice = random.Random(7)
    for run_id, count in RUNS.items():
        odd = run_id.startswith("odd")
        drafts = [
            EventDraft(
                dice.choice(ODD_TYPES if odd else TYPES),
                step_key=dice.choice(ODD_STEPS if odd else STEPS),
                level=dice.choice((10, 20, 25, 40)),  # type: ignore[arg-type]
                message=dice.choice(("\x1e", *MESSAGES) if odd else MESSAGES),
                timestamp_us=dice.choice((None, 0, -1, 2**62)),
                event_id=dice.choice((None, f"id {number}", f"{number}\x1e" if odd else f"{number}")),
                data=dice.choice(DATA),
            )
            for number in range(count)
        ]
        for storage in made:
            storage.append(run_id, drafts)
    for storage in made:
        storage.close_runs(["closed", "gone"])
        assert (storage.delete("closed", 7), storage.delete("gone")) == (7, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_reads, "MAX_GATHERED_BYTES", 10_000)
        yield made
    lite.close()
    server.close()
    drop(postgres, ["alike"])


FILTERS = st.builds(
    EventFilter,
    event_types=st.sampled_from([None, None, (), ("LOG_MESSAGE",), ("a\x1eb", "STEP_START"), ("\0", "unheard of")]),
    step_keys=st.sampled_from([None, None, (), ("extract",), ("s\x1e", "load"), ("",)]),
    min_level=st.sampled_from([None, None, 20, 25, 99, -1]),
)
QUERIES = st.builds(
    EventQuery,
    run_id=st.sampled_from([*RUNS, "unheard of", "", "\0"]),
    after_seq=st.none() | st.integers(0, 33) | st.sampled_from([2**31, 2**62]),
    limit=st.integers(-1, 12) | st.sampled_from([30, 1000, 2**40]),
    filter=st.none() | FILTERS,
    order=st.sampled_from(list(EventsOrder)),
)


def told(found: EventSlice) -> object:
    # Each storage draws an incarnation of its own; and of a log that is being deleted nobody needs to know how far it
    # was read.
    head = found.head
    if head is None or head.deleted:
        return head is None, list(found.events)
    return head.last_seq, list(found.events), found.through_seq, found.has_more


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(QUERIES, min_size=1, max_size=4))
def test_reads_are_alike(storages: tuple[EventLogStorage, ...], queries: list[EventQuery]) -> None:
    """Each query by itself, all in one read, and one of them twice: the same events, in order, and the same places."""
    expected, *others = (
        [
            [told(found) for found in storage.read(asked)]
            for asked in (*([query] for query in queries), [*queries, queries[0]])
        ]
        for storage in storages
    )
    assert others == [expected, expected]
