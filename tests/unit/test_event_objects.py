"""Stored events as GraphQL objects: whatever is stored reads as a valid object, and nothing of it is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
import strawberry
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig

from daglens.resolvers.cursors import event_cursor, event_cursor_prefix
from daglens.schema import metadata as md
from daglens.schema import run_events as run
from daglens.schema import step_events as step
from daglens.schema.enums import LogLevel, ObjectStoreOperationType
from daglens.schema.event import Event, UnknownEvent
from daglens.schema.event_objects import EVENT_TYPES, TYPES, event_object
from daglens.schema.scalars import SCALARS
from daglens.storage import event_types as et
from daglens.storage.records import EventRecord

INCARNATION = "00112233aabbccdd"


def record(event_type: str, data: Any = None, *, text: str | None = None, **changes: Any) -> EventRecord:
    stored = json.dumps({} if data is None else data) if text is None else text
    plain = EventRecord("run", 7, None, event_type, "step", 20, "message", 1_000_000, stored)
    return plain._replace(**changes)


def read(event_type: str, data: Any = None, **changes: Any) -> Event:
    return event_object(record(event_type, data, **changes), event_cursor_prefix(INCARNATION))


def test_fields_of_every_event() -> None:
    """What all events have comes from the record; the cursor names log and seq."""
    event = read(et.STEP_SKIPPED, step_key="extract", level=40, message="m")
    assert type(event) is step.ExecutionStepSkippedEvent
    assert (event.run_id, event.seq, event.timestamp, event.level) == ("run", 7, 1_000_000, LogLevel.ERROR)
    assert (event.message, event.event_type, event.step_key) == ("m", "STEP_SKIPPED", "extract")
    assert event.cursor == event_cursor(INCARNATION, 7)


def test_every_known_type_has_its_class() -> None:
    """All event types that daglens writes are in the table, each with a GraphQL type of its own."""
    assert TYPES.keys() == et.KNOWN_EVENT_TYPES
    assert len({kind for kind, _ in TYPES.values()}) == len(TYPES)


FULL: dict[str, tuple[type[Event], dict[str, Any], dict[str, Any]]] = {
    et.RUN_START: (
        run.RunStartEvent,
        {"pipelineName": "p", "processId": 3, "hostname": "h"},
        {"pipeline_name": "p", "process_id": 3, "hostname": "h"},
    ),
    et.LOG_MESSAGE: (run.LogMessageEvent, {"logger": "l"}, {"logger": "l"}),
    et.STEP_START: (step.ExecutionStepStartEvent, {"attempt": 2}, {"attempt": 2}),
    et.STEP_RESTARTED: (step.ExecutionStepRestartEvent, {"attempt": 2.0}, {"attempt": 2}),
    et.STEP_SUCCESS: (step.ExecutionStepSuccessEvent, {"durationSeconds": 3}, {"duration_seconds": 3.0}),
    et.OBJECT_STORE_OPERATION: (
        step.ObjectStoreOperationEvent,
        {"op": "CP_OBJECT", "address": "s3://a"},
        {"op": ObjectStoreOperationType.CP_OBJECT, "address": "s3://a", "metadata_entries": []},
    ),
    et.LOGS_CAPTURED: (
        step.ComputeLogsCapturedEvent,
        {"attempt": 1, "stepKeys": ["a", "b"]},
        {"attempt": 1, "step_keys": ["a", "b"]},
    ),
    et.STEP_MATERIALIZATION: (
        step.MaterializationEvent,
        {"label": "l", "description": "d", "assetKey": ["a", "b"], "partition": "p"},
        {"label": "l", "description": "d", "asset_key": ["a", "b"], "partition": "p", "metadata_entries": []},
    ),
    et.STEP_EXPECTATION_RESULT: (
        step.ExpectationResultEvent,
        {"success": False, "label": "l"},
        {"success": False, "label": "l", "description": None, "metadata_entries": []},
    ),
    et.STEP_OUTPUT: (
        step.ExecutionStepOutputEvent,
        {"outputName": "o", "typeCheck": {"success": True, "label": "t"}},
        {
            "output_name": "o",
            "type_check": md.TypeCheck(success=True, label="t", description=None, metadata_entries=[]),
            "metadata_entries": [],
        },
    ),
    et.STEP_UP_FOR_RETRY: (
        step.ExecutionStepUpForRetryEvent,
        {"error": {"className": "E", "message": "m", "stack": ["s"], "cause": {"message": "c"}}, "secondsToWait": 0.5},
        {
            "error": md.ErrorInfo(
                class_name="E",
                message="m",
                stack=["s"],
                cause=md.ErrorInfo(class_name=None, message="c", stack=[], cause=None),
            ),
            "seconds_to_wait": 0.5,
        },
    ),
}


@pytest.mark.parametrize("event_type", FULL)
def test_own_fields(event_type: str) -> None:
    """A type's own fields come from the data, under their GraphQL names."""
    kind, data, expected = FULL[event_type]
    event = read(event_type, data)
    assert type(event) is kind
    assert {name: getattr(event, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("presumed", "expected"), [({}, False), ({"presumed": None}, False), ({"presumed": True}, True)]
)
def test_presumed_is_false_when_absent(presumed: dict[str, Any], expected: bool) -> None:
    """A failure is presumed only where the event says so."""
    event = read(et.RUN_FAILURE, presumed)
    assert isinstance(event, run.RunFailureEvent)
    assert (event.presumed, event.error) == (expected, None)


ENTRIES: list[tuple[dict[str, Any], md.MetadataEntry]] = [
    ({"text": "t"}, md.TextMetadataEntry(label="x", description=None, text="t")),
    ({"url": "u"}, md.UrlMetadataEntry(label="x", description=None, url="u")),
    ({"path": "p"}, md.PathMetadataEntry(label="x", description=None, path="p")),
    ({"markdown": "m"}, md.MarkdownMetadataEntry(label="x", description=None, markdown="m")),
    ({"json": {"a": [1]}}, md.JsonMetadataEntry(label="x", description=None, json_value={"a": [1]})),  # type: ignore[arg-type]
    ({"json": None}, md.JsonMetadataEntry(label="x", description=None, json_value=None)),
    ({"float": 1}, md.FloatMetadataEntry(label="x", description=None, float_value=1.0)),
    ({"float": None}, md.FloatMetadataEntry(label="x", description=None, float_value=None)),
    ({"int": 2**63 - 1}, md.IntMetadataEntry(label="x", description=None, int_value=2**63 - 1)),  # type: ignore[arg-type]
    ({"int": "-9223372036854775808"}, md.IntMetadataEntry(label="x", description=None, int_value=-(2**63))),  # type: ignore[arg-type]
    ({"int": 1e3}, md.IntMetadataEntry(label="x", description=None, int_value=1000)),  # type: ignore[arg-type]
    ({"bool": False}, md.BoolMetadataEntry(label="x", description=None, bool_value=False)),
    ({"description": "d", "text": ""}, md.TextMetadataEntry(label="x", description="d", text="")),
    ({"text": "t", "url": None}, md.TextMetadataEntry(label="x", description=None, text="t")),
    ({"notebook": {"v": 1}}, md.JsonMetadataEntry(label="x", description=None, json_value={"notebook": {"v": 1}})),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("entry", "expected"), ENTRIES, ids=[json.dumps(entry) for entry, _ in ENTRIES])
def test_metadata_entries(entry: dict[str, Any], expected: md.MetadataEntry) -> None:
    """Each kind has its type; a kind that nobody knows is shown as JSON, whole."""
    event = read(et.ENGINE_EVENT, {"metadataEntries": [{"label": "x", **entry}]})
    assert isinstance(event, run.EngineEvent)
    assert event.metadata_entries == [expected]


NO_ENTRIES: list[Any] = [
    {},
    ["x"],
    [{"text": "t"}],
    [{"label": "x"}],
    [{"label": "x", "text": None}],
    [{"label": "x", "text": "t", "url": "u"}],
    [{"label": "x", "text": 1}],
    [{"label": "x", "int": 1.5}],
    [{"label": "x", "int": 2**63}],
    [{"label": "x", "int": "0x1"}],
    [{"label": "x", "int": 1e300}],
    [{"label": "x", "float": "1"}],
    [{"label": "x", "bool": 1}],
]


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("MARKETPLACE_OPENED", {"a": 1}),
        (et.RUN_START, {}),
        (et.RUN_START, {"pipelineName": 1}),
        (et.RUN_START, {"pipelineName": "p", "processId": "3"}),
        (et.RUN_START, {"pipelineName": "p", "processId": 2**31}),
        (et.RUN_SUCCESS, ["not an object"]),
        (et.RUN_FAILURE, {"presumed": "yes"}),
        (et.RUN_FAILURE, {"error": "text"}),
        (et.RUN_FAILURE, {"error": {"className": "E"}}),
        (et.RUN_FAILURE, {"error": {"message": "m", "cause": {}}}),
        (et.RUN_FAILURE, {"error": {"message": "m", "stack": "one text"}}),
        (et.STEP_START, {}),
        (et.STEP_START, {"attempt": True}),
        (et.STEP_START, {"attempt": 1.5}),
        (et.STEP_SUCCESS, {"durationSeconds": True}),
        (et.STEP_OUTPUT, {"outputName": "o", "typeCheck": {}}),
        (et.STEP_MATERIALIZATION, {"label": "l", "assetKey": "a"}),
        (et.STEP_MATERIALIZATION, {"label": "l", "assetKey": [1]}),
        (et.STEP_EXPECTATION_RESULT, {"label": "l"}),
        (et.OBJECT_STORE_OPERATION, {"op": "MV_OBJECT", "address": "a"}),
        (et.LOGS_CAPTURED, {"attempt": 1, "stepKeys": "a"}),
        *((et.ENGINE_EVENT, {"metadataEntries": entries}) for entries in NO_ENTRIES),
    ],
)
def test_what_does_not_fit_is_kept_whole(event_type: str, data: Any) -> None:
    """An unknown type, or data that lacks what its type promises, is an UnknownEvent with all of its data."""
    event = read(event_type, data)
    assert type(event) is UnknownEvent
    assert (event.event_type, event.data) == (event_type, data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("{", "{"),
        ("null", None),
        ('{"a":NaN,"b":[-Infinity,1e999]}', {"a": None, "b": [None, None]}),
        ('{"a\\ud800":"\\udfff"}', {"a\ufffd": "\ufffd"}),
        ('{"a":"\\ud83d\\ude00"}', {"a": "😀"}),
        ('{"a":1' + "0" * 5000 + "}", '{"a":1' + "0" * 5000 + "}"),
        ("[" * 101 + "]" * 101, "[" * 101 + "]" * 101),
    ],
)
def test_data_that_no_encoder_would_take(text: str, expected: Any) -> None:
    """What could not be written out as JSON again reads as something that can; text that is no JSON reads as text."""
    event = read("ANYTHING", text=text)
    assert isinstance(event, UnknownEvent)
    assert event.data == expected


def test_brackets_in_text_are_no_nesting() -> None:
    """A message full of brackets is not deep data."""
    data: Any = {"a": "[" * 500, "b": ['"[' * 200]}
    event = read("ANYTHING", data)
    assert isinstance(event, UnknownEvent)
    assert event.data == data


@pytest.mark.parametrize(("number", "level"), [(0, "DEBUG"), (25, "INFO"), (50, "CRITICAL"), (99, "CRITICAL")])
def test_levels_between_read_as_the_lower(number: int, level: str) -> None:
    """A level that has no name reads as the next lower one."""
    assert read(et.RUN_SUCCESS, level=number).level.name == level


# ---------------------------------------------------------------- whatever is stored

SHOWN: list[Event] = []


@strawberry.type
class Shown:
    @strawberry.field
    def events(self) -> list[Event]:
        return SHOWN


SCHEMA = strawberry.Schema(Shown, types=[*EVENT_TYPES, *md.METADATA_TYPES], config=StrawberryConfig(scalar_map=SCALARS))


def selection(type_name: str, depth: int) -> str:
    """Every field of a type, down to `depth` levels."""
    fields = []
    type_: Any = SCHEMA._schema.type_map[type_name]
    for name, field in type_.fields.items():
        inner: Any = field.type
        while hasattr(inner, "of_type"):
            inner = inner.of_type
        if inner.name == "MetadataEntry":
            entries = " ".join(
                f"... on {kind.__name__} {{ {selection(kind.__name__, 0)} }}" for kind in md.METADATA_TYPES
            )
            fields.append(f"{name} {{ {entries} }}")
        elif not hasattr(inner, "fields"):
            fields.append(name)
        elif depth > 0:
            fields.append(f"{name} {{ {selection(inner.name, depth - 1)} }}")
    return " ".join(fields)


OF_TYPES = " ".join(f"... on {kind.__name__} {{ {selection(kind.__name__, 3)} }}" for kind in EVENT_TYPES)
DOCUMENT = f"{{ events {{ __typename {OF_TYPES} }} }}"

names = (
    "attempt pipelineName processId hostname presumed error metadataEntries logger inputName outputName typeCheck "
    "durationSeconds secondsToWait label description assetKey partition success op address stepKeys className message "
    "stack cause text url path json markdown float int bool"
)
keys = st.sampled_from(names.split(" ")) | st.text(max_size=3)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1", "GET_OBJECT"])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=25
)
texts = values.map(json.dumps) | st.text(max_size=20)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(TYPES)) | st.text(max_size=9), texts), max_size=4))
def test_whatever_is_stored_is_answered(stored: list[tuple[str, str]]) -> None:
    """No data, however odd, makes an error in the answer: each event comes with every field its type promises."""
    SHOWN[:] = [event_object(record(kind, text=text), event_cursor_prefix(INCARNATION)) for kind, text in stored]
    result = SCHEMA.execute_sync(DOCUMENT)
    assert result.errors is None
    assert result.data is not None
    assert len(result.data["events"]) == len(stored)
    json.dumps(result.data["events"], allow_nan=False, ensure_ascii=False).encode()
