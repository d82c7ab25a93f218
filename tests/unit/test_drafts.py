"""From what a writer hands in to what is stored."""

from __future__ import annotations

import json
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.storage.drafts import (
    EventLimits,
    PreparedEvent,
    cut_message,
    json_text,
    prepare,
    without_duplicates,
)
from daglens.storage.errors import EventTooLarge, InvalidName
from daglens.storage.records import EventDraft, EventRecord, LogLevel

storable = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | storable,
    lambda inner: st.lists(inner) | st.dictionaries(storable, inner),
    max_leaves=20,
)


@given(json_values)
def test_json_reads_back(value: Any) -> None:
    """Any JSON value is kept as it is, in compact form."""
    text = json_text(value)
    assert json.loads(text) == value
    assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)


@given(st.recursive(st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_always_storable(value: Any) -> None:
    """NUL, lone surrogates, NaN and infinities never get into a database; the result is always JSON."""
    text = json_text(value)
    text.encode()
    loaded = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "\0" not in repr_of_texts(loaded)


def repr_of_texts(value: Any) -> str:
    """All texts of a JSON value, one after the other."""
    if isinstance(value, dict):
        return "".join(key + repr_of_texts(item) for key, item in value.items())
    if isinstance(value, list):
        return "".join(map(repr_of_texts, value))
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        (OrderedDict(), "{}"),
        ({"a": "\0"}, '{"a":"\ufffd"}'),
        ({"a\0": 1}, '{"a\ufffd":1}'),
        ({"a": "\\u0000"}, '{"a":"\\\\u0000"}'),
        ({"a": "\\\0"}, '{"a":"\\\\\ufffd"}'),
        ({"a": "\ud83d"}, '{"a":"\ufffd"}'),
        ({"a": "😀"}, '{"a":"😀"}'),
        ({"a": [float("nan"), float("-inf"), 1.5]}, '{"a":[null,null,1.5]}'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        ({1: {"b": float("inf")}}, '{"1":{"b":null}}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        ({"n": 2**80}, '{"n":1208925819614629174706176}'),
    ],
)
def test_json_of_odd_values(value: Any, text: str) -> None:
    """What isn't plain JSON is read in the one sensible way; text that speaks of a NUL has none."""
    assert json_text(value) == text


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value",
    [{1, 2}, b"bytes", object(), {"a": object()}, _circle(), 10**5000],
    ids=["set", "bytes", "object", "nested", "circle", "too many digits"],
)
def test_no_json_is_refused(value: Any) -> None:
    """What JSON has no word for is InvalidName, not an error of the JSON library."""
    with pytest.raises(InvalidName, match="JSON"):
        json_text({"x": value})


@pytest.mark.parametrize("data", [None, [], "text", 1, (("a", 1),)], ids=repr)
def test_data_is_an_object(data: Any) -> None:
    """Data of an event is an object; anything else is refused before something is stored."""
    with pytest.raises(InvalidName):
        prepare([EventDraft("LOG_MESSAGE", data=data)], now=1)


def test_prepared_event() -> None:
    """Everything that is stored is there, and only the seq is missing."""
    draft = EventDraft("STEP_START", "s", LogLevel.ERROR, "m", 5, "e", {"attempt": 2})
    (event,) = prepare([draft], now=9)
    assert event == PreparedEvent("e", "STEP_START", "s", 40, "m", 5, '{"attempt":2}', {"attempt": 2})
    assert event.record("r", 3) == EventRecord("r", 3, "e", "STEP_START", "s", 40, "m", 5, '{"attempt":2}')


def test_absent_time_is_now() -> None:
    """The storage's time stands in; a time of 0 is a time."""
    events = prepare([EventDraft("A"), EventDraft("B", timestamp_us=0)], now=9)
    assert [event.timestamp_us for event in events] == [9, 0]


def test_size_is_counted_in_bytes() -> None:
    """The limit is one of UTF-8 bytes, exact to the byte, and the error names the event."""
    limits = EventLimits(max_data_bytes=12)
    assert len(prepare([EventDraft("A", data={"x": "ééa"[:2]})], 1, limits)) == 1
    with pytest.raises(EventTooLarge, match="13 bytes") as caught:
        prepare([EventDraft("A"), EventDraft("B", data={"x": "ééa"})], 1, limits)
    assert caught.value.index == 1


@given(st.text(max_size=200), st.integers(40, 120))
def test_cut_message_is_never_longer(message: str, max_chars: int) -> None:
    """A message within the limit stays; a longer one keeps its beginning and says how long it was."""
    cut = cut_message(message, max_chars)
    assert len(cut) <= max_chars
    if len(message) <= max_chars:
        assert cut == message
    else:
        assert f"{len(message)} characters" in cut
        assert message.startswith(cut.split(" … [cut")[0])


ids = st.none() | st.sampled_from("abcdef")


@given(st.lists(ids), st.sets(st.sampled_from("abcdef")))
def test_without_duplicates(given_ids: list[str | None], known: set[str]) -> None:
    """Each id once, the first of it, in order; events without an id all stay; the known ids are left as they were."""
    before = set(known)
    events = prepare([EventDraft("A", message=str(n), event_id=i) for n, i in enumerate(given_ids)], now=1)
    fresh = without_duplicates(events, known)
    assert known == before
    expected: list[PreparedEvent] = []
    for event in events:
        first = event.event_id not in {e.event_id for e in expected}
        if event.event_id is None or (event.event_id not in known and first):
            expected.append(event)
    assert fresh == expected
