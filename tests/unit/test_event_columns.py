"""A sequence of events that holds columns is to its readers what a list of the events is."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.storage.event_columns import NO_EVENTS, EventColumns, picked
from daglens.storage.records import EventRecord

BOUNDS = st.none() | st.integers(-9, 9)


def event(seq: int) -> EventRecord:
    return EventRecord("r", seq, None, "LOG_MESSAGE", None, 20, f"message {seq}", 1_000_000 + seq, "{}")


@given(st.integers(0, 6), BOUNDS, BOUNDS, BOUNDS.filter(lambda step: step != 0))
def test_slices_are_those_of_a_list(count: int, start: int | None, stop: int | None, step: int | None) -> None:
    """Any slice, of any step, is the list's; and has columns in its turn."""
    events = [event(seq) for seq in range(count)]
    found = EventColumns.of(events)[start:stop:step]
    assert found == events[start:stop:step] and isinstance(found, EventColumns)
    assert {len(column) for column in found.columns} == {len(events[start:stop:step])}


@given(st.integers(0, 4), st.integers(-6, 6))
def test_places_are_those_of_a_list(count: int, place: int) -> None:
    """An index counts from either end; beyond them is an IndexError."""
    events = [event(seq) for seq in range(count)]
    columns = EventColumns.of(events)
    if -count <= place < count:
        assert columns[place] == events[place]
        assert type(columns[place]) is EventRecord
    else:
        with pytest.raises(IndexError):
            columns[place]


@given(st.integers(0, 4))
def test_reads_as_a_list(count: int) -> None:
    """Length, truth, membership, order and each way of going through them; they are records each time."""
    events = [event(seq) for seq in range(count)]
    columns = EventColumns.of(events)
    assert len(columns) == count and bool(columns) is bool(events)
    assert list(columns) == list(columns) == events and all(type(one) is EventRecord for one in columns)
    assert list(reversed(columns)) == events[::-1]
    assert [columns.index(one) for one in events] == list(range(count))
    assert event(9) not in columns and all(one in columns and columns.count(one) == 1 for one in events)
    assert [*pairwise(columns)] == [*pairwise(events)]
    assert EventColumns.of(columns) is columns
    assert pickle.loads(pickle.dumps(columns)) == copy.deepcopy(columns) == columns
    assert eval(repr(columns)) == columns


@given(st.integers(0, 3), st.integers(0, 3))
def test_equality(one: int, other: int) -> None:
    """Equal to what holds equal events in the same order, from either side; nothing that could be looked up by hash."""
    events, others = [event(seq) for seq in range(one)], [event(seq) for seq in range(other)]
    columns = EventColumns.of(events)
    for right in (others, tuple(others), EventColumns.of(others)):
        assert (columns == right) is (right == columns) is (one == other)
        assert (columns != right) is (right != columns) is (one != other)
    assert columns == ANY and columns != "x" * one + "y" and columns != None  # noqa: E711
    with pytest.raises(TypeError):
        hash(columns)


@given(st.permutations(range(5)), st.integers(0, 5), st.booleans())
def test_in_order(seqs: list[int], count: int, newest_first: bool) -> None:
    """Whatever order a database gives them in."""
    events = [event(seq) for seq in seqs[:count]]
    found = EventColumns.of(events).in_order(newest_first=newest_first)
    assert found == sorted(events, key=lambda one: one.seq, reverse=newest_first)


def test_none_at_all() -> None:
    """No events have as many columns as some."""
    assert EventColumns.of([]) is EventColumns.of(()) is NO_EVENTS
    assert [len(column) for column in NO_EVENTS.columns] == [0] * len(EventRecord._fields)
    assert NO_EVENTS == [] and NO_EVENTS[:3] == () and not NO_EVENTS[::-1]


def test_picked() -> None:
    """One place as well as several."""
    columns = [[1, 2, 3], ("a", "b", "c")]
    assert picked(columns, [1]) == [(2,), ("b",)]
    assert picked(columns, [2, 0]) == [(3, 1), ("c", "a")]
