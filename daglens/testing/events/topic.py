"""What the topics of the event log suite have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.drafts import DEFAULT_LIMITS
from daglens.storage.records import EventDraft, EventFilter, EventQuery, EventRecord, EventSlice, EventsOrder, Head

FORWARD = EventsOrder.OLDEST_FIRST
BACKWARD = EventsOrder.NEWEST_FIRST


class EventTopic:
    """Base of the topics. A subclass gives the fixture `storage`."""

    max_data_bytes = DEFAULT_LIMITS.max_data_bytes
    """The most data (bytes of JSON) that an event of this storage may have."""

    @pytest.fixture
    def storage(self) -> EventLogStorage:
        """An empty storage, for one test."""
        raise NotImplementedError("Override the fixture `storage`: it gives a new, empty event log storage.")

    @pytest.fixture
    def second(self, storage: EventLogStorage) -> EventLogStorage:
        """Another instance on the same data, as another process has; override it where there can be one."""
        return storage


def logged(number: object, **fields: Any) -> EventDraft:
    """A log message whose text is `number`."""
    return EventDraft("LOG_MESSAGE", message=str(number), **fields)


def messages(first: int, last: int) -> list[EventDraft]:
    """Log messages numbered first … last."""
    return [logged(number) for number in range(first, last + 1)]


def identified(first: int, last: int) -> list[EventDraft]:
    """Likewise, with event ids."""
    return [logged(number, event_id=f"id {number}") for number in range(first, last + 1)]


def seqs(events: Sequence[EventRecord]) -> list[int]:
    """Their seqs, in their order."""
    return [event.seq for event in events]


def texts(events: Sequence[EventRecord]) -> list[str]:
    """Their messages, in their order."""
    return [event.message for event in events]


def read(
    storage: EventLogStorage,
    run_id: str = "r1",
    after_seq: int | None = None,
    limit: int = 1000,
    filter: EventFilter | None = None,
    order: EventsOrder = FORWARD,
) -> EventSlice:
    """The answer to one query."""
    (answer,) = storage.read([EventQuery(run_id, after_seq, limit, filter, order)])
    return answer


def head(storage: EventLogStorage, run_id: str = "r1") -> Head:
    """The head of a run that has a log."""
    return storage.heads([run_id])[run_id]


def walk(
    storage: EventLogStorage,
    run_id: str = "r1",
    filter: EventFilter | None = None,
    order: EventsOrder = FORWARD,
    limit: int = 3,
) -> list[EventRecord]:
    """Every event from one end to the other, page by page; each page must take the walk on."""
    found: list[EventRecord] = []
    place: int | None = None
    while True:
        page = read(storage, run_id, place, limit, filter, order)
        check_slice(page, order, place, limit)
        found += page.events
        if not page.has_more:
            return found
        assert page.through_seq != place, "a page that says there are more takes the walk on"
        place = page.through_seq


def check_slice(page: EventSlice, order: EventsOrder, after_seq: int | None, limit: int) -> None:
    """What holds for every slice of a log from which nothing was removed."""
    assert len(page.events) <= limit
    last = page.head.last_seq if page.head is not None else 0
    numbers = seqs(page.events)
    if order is FORWARD:
        assert numbers == sorted(set(numbers))
        assert all(number > (after_seq or 0) for number in numbers)
        assert not numbers or numbers[-1] <= page.through_seq <= last
        assert page.has_more is (page.through_seq < last)
    else:
        assert numbers == sorted(set(numbers), reverse=True)
        assert after_seq is None or all(number < after_seq for number in numbers)
        assert not numbers or 1 <= page.through_seq <= numbers[-1]
        assert page.has_more is (last > 0 and page.through_seq > 1)
