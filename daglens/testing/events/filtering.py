"""Reading some events of a log: the place moves over what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.records import EventDraft, EventFilter, EventRecord, EventsOrder, LogLevel
from daglens.testing.events.topic import (
    BACKWARD,
    FORWARD,
    EventTopic,
    check_slice,
    logged,
    messages,
    read,
    seqs,
    walk,
)
from daglens.testing.names import IMPOSSIBLE_NAMES

Match = Callable[[EventRecord], bool]

FILTERS: dict[str, tuple[EventFilter, Match]] = {
    "no condition": (EventFilter(), lambda e: True),
    "a type": (EventFilter(event_types=["STEP_START"]), lambda e: e.event_type == "STEP_START"),
    "types": (
        EventFilter(event_types=["STEP_SUCCESS", "NEVER", "RUN_START", "RUN_START"]),
        lambda e: e.event_type in ("STEP_SUCCESS", "RUN_START"),
    ),
    "a type in other case": (EventFilter(event_types=["step_start"]), lambda e: False),
    "a step": (EventFilter(step_keys=["a"]), lambda e: e.step_key == "a"),
    "steps": (EventFilter(step_keys=["b", "c", "a_"]), lambda e: e.step_key in ("b", "c", "a_")),
    "a step in other case": (EventFilter(step_keys=["A"]), lambda e: False),
    "level": (EventFilter(min_level=LogLevel.WARNING), lambda e: e.level >= 30),
    "lowest level": (EventFilter(min_level=LogLevel.DEBUG), lambda e: True),
    "level beyond all": (EventFilter(min_level=60), lambda e: False),
    "type and step": (
        EventFilter(event_types=["STEP_START", "LOG_MESSAGE"], step_keys=["a"]),
        lambda e: e.event_type in ("STEP_START", "LOG_MESSAGE") and e.step_key == "a",
    ),
    "all parts": (
        EventFilter(event_types=["LOG_MESSAGE"], step_keys=["a", "b"], min_level=40),
        lambda e: e.event_type == "LOG_MESSAGE" and e.step_key in ("a", "b") and e.level >= 40,
    ),
    "no types": (EventFilter(event_types=[]), lambda e: False),
    "no steps": (EventFilter(step_keys=[]), lambda e: False),
    "only the first": (EventFilter(event_types=["RUN_START"]), lambda e: e.event_type == "RUN_START"),
    "only the last": (EventFilter(event_types=["RUN_SUCCESS"]), lambda e: e.event_type == "RUN_SUCCESS"),
}


def _fill(storage: EventLogStorage) -> list[EventRecord]:
    """A log of 27 events: three steps, some levels, and messages of no step."""
    drafts = [EventDraft("RUN_START")]
    for step in ("a", "b", "a_"):
        drafts.append(EventDraft("STEP_START", step_key=step))
        drafts += [logged(n, step_key=step, level=level) for n, level in enumerate(LogLevel)]
        drafts.append(EventDraft("STEP_SUCCESS", step_key=step, level=LogLevel.DEBUG))
        drafts.append(logged(9, level=LogLevel.ERROR))
    drafts += [EventDraft("ENGINE_EVENT"), EventDraft("RUN_SUCCESS")]
    storage.append("r1", drafts)
    return list(read(storage).events)


class EventFiltering(EventTopic):
    """`read` with a filter."""

    @pytest.mark.parametrize("order", [FORWARD, BACKWARD])
    @pytest.mark.parametrize("name", list(FILTERS))
    def test_walk_gives_all_that_match(self, storage: EventLogStorage, name: str, order: EventsOrder) -> None:
        """For every filter, direction and page size: each event that matches, once, in order."""
        filter, matches = FILTERS[name]
        expected = [event.seq for event in _fill(storage) if matches(event)]
        if order is BACKWARD:
            expected.reverse()
        for limit in (1, 2, 3, 5, 100):
            assert seqs(walk(storage, filter=filter, order=order, limit=limit)) == expected

    @pytest.mark.parametrize("order", [FORWARD, BACKWARD])
    @pytest.mark.parametrize("name", list(FILTERS))
    def test_every_place_is_a_good_beginning(self, storage: EventLogStorage, name: str, order: EventsOrder) -> None:
        """From wherever a read begins, all that match up to its `through_seq` are there, and the place moves over
        what was left out."""
        filter, matches = FILTERS[name]
        events = _fill(storage)
        for after in range(len(events) + 2):
            for limit in (1, 2, 100):
                page = read(storage, after_seq=after, limit=limit, filter=filter, order=order)
                check_slice(page, order, after, limit)
                if order is FORWARD:
                    examined = [e.seq for e in events if after < e.seq <= page.through_seq]
                else:
                    examined = [e.seq for e in reversed(events) if page.through_seq <= e.seq < after]
                assert seqs(page.events) == [seq for seq in examined if matches(events[seq - 1])]
                assert examined or page.through_seq == after

    def test_place_moves_over_what_is_left_out(self, storage: EventLogStorage) -> None:
        """A reader whose filter matches nothing arrives at the end, and goes on from there."""
        storage.append("r1", messages(1, 500))
        filter = EventFilter(event_types=["RUN_SUCCESS"])
        place = 0
        while True:
            page = read(storage, after_seq=place, limit=10, filter=filter)
            assert list(page.events) == []
            if not page.has_more:
                break
            assert page.through_seq > place
            place = page.through_seq
        assert page.through_seq == 500
        storage.append("r1", [EventDraft("RUN_SUCCESS")])
        assert seqs(read(storage, after_seq=500, filter=filter).events) == [501]

    @pytest.mark.parametrize("part", ["event_types", "step_keys"])
    def test_empty_list_matches_nothing(self, storage: EventLogStorage, part: str) -> None:
        """An empty list is a condition that no event fulfils; it doesn't mean "no filter"."""
        events = _fill(storage)
        nothing: dict[str, Any] = {part: []}
        page = read(storage, filter=EventFilter(**nothing))
        assert (list(page.events), page.through_seq, page.has_more) == ([], len(events), False)

    def test_limit_zero_with_a_filter(self, storage: EventLogStorage) -> None:
        """Only the head is asked for: the place stays."""
        _fill(storage)
        page = read(storage, after_seq=4, limit=0, filter=EventFilter(event_types=["STEP_START"]))
        assert (list(page.events), page.through_seq, page.has_more) == ([], 4, True)

    def test_impossible_names_match_nothing(self, storage: EventLogStorage) -> None:
        """A filter for what no event can have finds nothing, without an error."""
        _fill(storage)
        for name in IMPOSSIBLE_NAMES:
            for filter in (EventFilter(event_types=[name]), EventFilter(step_keys=[name])):
                assert walk(storage, filter=filter, limit=100) == []
