"""What of an event's data is taken: exactly what reads back as the event's own type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.resolvers.errors import InvalidInput
from daglens.resolvers.event_input import GivenEvent, drafts
from daglens.schema.event import UnknownEvent
from daglens.schema.event_objects import TYPES, event_object
from daglens.storage.drafts import prepare
from daglens.storage.event_types import KNOWN_EVENT_TYPES
from tests.api import history


def taken(event_type: str, data: Any = None, step_key: str | None = "s", **more: Any) -> Any:
    """The data that is stored."""
    (draft,) = drafts([GivenEvent(event_type, step_key, data=data, **more)], "nightly")
    return draft.data


def refused(event_type: str, data: Any = None, step_key: str | None = "s", **more: Any) -> tuple[str, str]:
    """Path and sentence of the refusal."""
    good = GivenEvent("LOG_MESSAGE")
    with pytest.raises(InvalidInput) as caught:
        drafts([good, GivenEvent(event_type, step_key, data=data, **more)], "nightly")
    return caught.value.path, str(caught.value)


ENTRY = {"label": "l", "text": "t"}

# By type, data that is just enough, and its keys that have to be there.
LEAST: dict[str, tuple[dict[str, Any], set[str]]] = {
    **{event_type: ({}, set()) for event_type in KNOWN_EVENT_TYPES},
    "STEP_INPUT": ({"inputName": "i"}, {"inputName"}),
    "STEP_OUTPUT": ({"outputName": "o"}, {"outputName"}),
    "STEP_MATERIALIZATION": ({"label": "l"}, {"label"}),
    "STEP_EXPECTATION_RESULT": ({"label": "l", "success": False}, {"label", "success"}),
    "OBJECT_STORE_OPERATION": ({"op": "CP_OBJECT", "address": "a"}, {"op", "address"}),
}


@pytest.mark.parametrize("event_type", sorted(LEAST))
def test_what_a_type_needs(event_type: str) -> None:
    """The least data is taken, and each of its parts is needed; null is as if it was not there."""
    data, needed = LEAST[event_type]
    assert taken(event_type, data) == ({"pipelineName": "nightly"} if event_type == "RUN_START" else data)
    for key in needed:
        for without in ({k: v for k, v in data.items() if k != key}, {**data, key: None}):
            path, message = refused(event_type, without)
            assert path == "events.1.data"
            assert f"`{key}` is missing" in message


def test_unknown_keys_and_types_are_kept() -> None:
    """What this version doesn't know is stored as it came."""
    extra = {"newer": {"deep": [1, None, "x"]}}
    assert taken("STEP_START", {"attempt": 1, **extra}) == {"attempt": 1, **extra}
    assert taken("OF_A_NEWER_WRITER", extra, step_key=None) == extra
    assert taken("STEP_MATERIALIZATION", {"label": "l", "metadataEntries": [{**ENTRY, "unit": "m"}]}) == {
        "label": "l",
        "metadataEntries": [{**ENTRY, "unit": "m"}],
    }


@pytest.mark.parametrize(
    "entry",
    [
        {"label": "l", "text": ""},
        {"label": "l", "url": "u", "description": "d"},
        {"label": "l", "path": "p", "description": None},
        {"label": "l", "json": None},
        {"label": "l", "json": [1]},
        {"label": "l", "markdown": "*m*"},
        {"label": "l", "float": 1},
        {"label": "l", "float": None},
        {"label": "l", "float": float("inf")},
        {"label": "l", "int": 2**63 - 1},
        {"label": "l", "int": "-9223372036854775808"},
        {"label": "l", "int": 3.0},
        {"label": "l", "bool": False},
        {"label": "l", "text": "t", "url": None, "json": None},
    ],
)
def test_metadata(entry: dict[str, Any]) -> None:
    """Every kind of entry is taken, with its description and whatever else stands in it."""
    assert taken("ENGINE_EVENT", {"metadataEntries": [entry]}) == {"metadataEntries": [entry]}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"text": "t"}, "`metadataEntries.1.label` is missing"),
        ({"label": 1, "text": "t"}, "`metadataEntries.1.label` must be a text"),
        ({"label": "l", "text": "t", "description": 1}, "description` must be a text"),
        ({"label": "l"}, "exactly one of text, url"),
        ({"label": "l", "notebook": "n"}, "it has none"),
        ({"label": "l", "text": "t", "url": "u"}, "it has text and url"),
        ({"label": "l", "text": None}, "text` is null"),
        ({"label": "l", "text": 1}, "text` must be a text"),
        ({"label": "l", "float": "1"}, "float` must be a number"),
        ({"label": "l", "float": True}, "float` must be a number"),
        ({"label": "l", "int": 2**63}, "64 bits"),
        ({"label": "l", "int": "1.5"}, "64 bits"),
        ({"label": "l", "int": 1.5}, "64 bits"),
        ({"label": "l", "int": True}, "64 bits"),
        ({"label": "l", "bool": 1}, "bool` must be true or false"),
        ("no object", "`metadataEntries.1` must be an object"),
        (None, "`metadataEntries.1` must be an object"),
    ],
)
def test_metadata_that_is_none(entry: Any, words: str) -> None:
    """An entry that would not read as one is refused, with its place."""
    path, message = refused("ENGINE_EVENT", {"metadataEntries": [ENTRY, entry]})
    assert path == "events.1.data"
    assert words in message


CAUSED = {"className": "E", "message": "m", "stack": ["a"], "cause": {"message": "inner", "cause": None}, "code": 7}


@pytest.mark.parametrize("event_type", ["RUN_FAILURE", "ENGINE_EVENT", "STEP_FAILURE", "STEP_UP_FOR_RETRY"])
def test_errors(event_type: str) -> None:
    """An error needs a message; its causes are errors, too."""
    assert taken(event_type, {"error": CAUSED}) == {"error": CAUSED}
    for error, words in (
        ({}, "`error.message` is missing"),
        ({"message": "m", "stack": "s"}, "`error.stack` must be a list"),
        ({"message": "m", "stack": [1]}, "`error.stack.0` must be a text"),
        ({"message": "m", "className": 1}, "`error.className` must be a text"),
        ({"message": "m", "cause": {"message": 1}}, "`error.cause.message` must be a text"),
        ("boom", "`error` must be an object"),
    ):
        assert words in refused(event_type, {"error": error})[1]


@pytest.mark.parametrize(
    ("event_type", "data", "words"),
    [
        ("RUN_START", {"processId": 2**31}, "32 bits"),
        ("RUN_START", {"pipelineName": 1}, "must be a text"),
        ("RUN_FAILURE", {"presumed": "yes"}, "true or false"),
        ("LOG_MESSAGE", {"logger": 1}, "must be a text"),
        ("STEP_START", {"attempt": 0}, "counted from 1"),
        ("STEP_RESTARTED", {"attempt": "2"}, "32 bits"),
        ("LOGS_CAPTURED", {"attempt": 1.5}, "32 bits"),
        ("LOGS_CAPTURED", {"attempt": 1, "stepKeys": "s"}, "must be a list"),
        ("STEP_SUCCESS", {"durationSeconds": "1"}, "must be a number"),
        ("STEP_UP_FOR_RETRY", {"secondsToWait": True}, "must be a number"),
        ("STEP_INPUT", {"inputName": "i", "typeCheck": {}}, "`typeCheck.success` is missing"),
        ("STEP_OUTPUT", {"outputName": "o", "typeCheck": {"success": True, "metadataEntries": {}}}, "must be a list"),
        ("STEP_MATERIALIZATION", {"label": "l", "assetKey": ["a", 1]}, "`assetKey.1` must be a text"),
        ("STEP_EXPECTATION_RESULT", {"label": "l", "success": 1}, "true or false"),
        ("OBJECT_STORE_OPERATION", {"op": "set_object", "address": "a"}, "SET_OBJECT"),
        ("OBJECT_STORE_OPERATION", {"op": ["SET_OBJECT"], "address": "a"}, "SET_OBJECT"),
        ("LOG_MESSAGE", [], "must be a JSON object"),
        ("OF_A_NEWER_WRITER", "text", "must be a JSON object"),
    ],
)
def test_data_that_is_none(event_type: str, data: Any, words: str) -> None:
    """What the type promises and can't be filled in is refused, with the place in the input."""
    path, message = refused(event_type, data)
    assert path == "events.1.data"
    assert words in message


def test_depth() -> None:
    """Data is taken as deep as it reads back; deeper it would come back as text."""

    def nested(levels: int) -> Any:
        return {} if levels == 1 else {"a": nested(levels - 1)}

    assert taken("OF_A_NEWER_WRITER", nested(100))
    assert "nested deeper" in refused("OF_A_NEWER_WRITER", nested(101))[1]
    assert "nested deeper" in refused("STEP_FAILURE", {"error": nested(500)})[1]


def test_names() -> None:
    """Types and step keys read NUL and surrogates as U+FFFD; what can't be a name is refused at its place."""
    (draft,) = drafts([GivenEvent("A\0", "s\ud800")], "p")
    assert (draft.event_type, draft.step_key) == ("A\ufffd", "s\ufffd")
    assert refused("")[0] == "events.1.eventType"
    assert refused("STEP_START", step_key="")[0] == "events.1.stepKey"
    assert refused("LOG_MESSAGE", step_key="s" * 256)[0] == "events.1.stepKey"
    assert refused("LOG_MESSAGE", event_id="\0")[0] == "events.1.eventId"
    assert refused("LOG_MESSAGE", event_id="")[0] == "events.1.eventId"


@pytest.mark.parametrize("event_type", ["STEP_START", "STEP_SUCCESS", "STEP_OF_A_NEWER_WRITER"])
def test_a_step_s_event_without_a_step(event_type: str) -> None:
    """An event of a step says of which; others need not."""
    assert refused(event_type, step_key=None)[0] == "events.1.stepKey"
    assert taken("LOG_MESSAGE", step_key=None) == {}
    assert taken("RUN_SUCCESS", step_key=None) == {}


def test_whole_numbers_as_floats() -> None:
    """2.0 is the second attempt; what counts attempts takes integers only."""
    assert repr(taken("STEP_START", {"attempt": 2.0})) == "{'attempt': 2}"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted(
    {"attempt", "pipelineName", "processId", "hostname", "error", "presumed", "logger", "inputName", "outputName"}
    | {"typeCheck", "metadataEntries", "durationSeconds", "secondsToWait", "label", "description", "assetKey"}
    | {"partition", "success", "op", "address", "stepKeys", "newer"}
)
ENTRIES = st.lists(
    st.dictionaries(
        st.sampled_from(["label", "description", "text", "int", "float", "json", "bool", "newer"]), JSON_VALUES
    ),
    max_size=2,
)
ERRORS = st.dictionaries(st.sampled_from(["className", "message", "stack", "cause", "newer"]), JSON_VALUES)
PLAUSIBLE = st.sampled_from(
    [1, 2.0, "x", True, ["a"], "SET_OBJECT", {"success": True}, {"message": "m"}, [{"label": "l", "int": "5"}], None]
)


@given(
    event_type=st.sampled_from(sorted(KNOWN_EVENT_TYPES)),
    data=st.dictionaries(st.sampled_from(KEYS), PLAUSIBLE | JSON_VALUES | ENTRIES | ERRORS, max_size=6),
)
def test_what_is_taken_reads_back_as_its_type(event_type: str, data: dict[str, Any]) -> None:
    """Nothing that is taken is an UnknownEvent later."""
    try:
        (draft,) = drafts([GivenEvent(event_type, "s", data=data)], "nightly")
    except InvalidInput:
        return
    if event_type in ("STEP_START", "STEP_RESTARTED", "LOGS_CAPTURED"):
        # attempts.py fills it in.
        draft = replace(draft, data={**draft.data, "attempt": draft.data.get("attempt") or 1})
    (prepared,) = prepare([draft], 0)
    read = event_object(prepared.record("r", 1), "c")
    assert not isinstance(read, UnknownEvent)
    assert isinstance(read, TYPES[event_type][0])


def test_what_the_recorder_writes_is_taken() -> None:
    """The history that has every type, without the entry that only a newer writer sends, passes."""
    known = history.METADATA[:-1]
    for draft in history.EVENTS:
        data = {key: known if key == "metadataEntries" else value for key, value in draft.data.items()}
        assert taken(draft.event_type, data, step_key=draft.step_key) == data
