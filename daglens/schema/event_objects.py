"""From a stored event to the object of its type.

Whatever is stored gives an object; what doesn't fit its type, an UnknownEvent.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import strawberry

from daglens.resolvers.cursors import event_cursor_prefix
from daglens.schema import run_events as run
from daglens.schema import step_events as step
from daglens.schema.compiled import Columns, Rows, Surprise
from daglens.schema.enums import LogLevel, ObjectStoreOperationType
from daglens.schema.event import Event, UnknownEvent
from daglens.schema.event_data import Fields, Lacks, parse_data
from daglens.schema.scalars import Cursor, DateTime
from daglens.storage import event_types as et
from daglens.storage.event_columns import EventColumns, picked
from daglens.storage.records import EventRecord

Read = Callable[[Fields], dict[str, Any]]


def _nothing(_: Fields) -> dict[str, Any]:
    return {}


def _operation(data: Fields) -> ObjectStoreOperationType:
    try:
        return ObjectStoreOperationType(data.text("op"))
    except ValueError:
        raise Lacks("op") from None


TYPES: dict[str, tuple[type[Event], Read]] = {
    et.RUN_ENQUEUED: (run.RunEnqueuedEvent, _nothing),
    et.RUN_STARTING: (run.RunStartingEvent, _nothing),
    et.RUN_START: (
        run.RunStartEvent,
        lambda data: {
            "pipeline_name": data.text("pipelineName"),
            "process_id": data.integer_or_none("processId"),
            "hostname": data.text_or_none("hostname"),
        },
    ),
    et.RUN_SUCCESS: (run.RunSuccessEvent, _nothing),
    et.RUN_FAILURE: (
        run.RunFailureEvent,
        lambda data: {"error": data.error_or_none("error"), "presumed": data.boolean_or_false("presumed")},
    ),
    et.RUN_CANCELING: (run.RunCancelingEvent, _nothing),
    et.RUN_CANCELED: (run.RunCanceledEvent, _nothing),
    et.ENGINE_EVENT: (
        run.EngineEvent,
        lambda data: {"metadata_entries": data.entries("metadataEntries"), "error": data.error_or_none("error")},
    ),
    et.LOG_MESSAGE: (run.LogMessageEvent, lambda data: {"logger": data.text_or_none("logger")}),
    et.STEP_START: (step.ExecutionStepStartEvent, lambda data: {"attempt": data.integer("attempt")}),
    et.STEP_INPUT: (
        step.ExecutionStepInputEvent,
        lambda data: {"input_name": data.text("inputName"), "type_check": data.type_check_or_none("typeCheck")},
    ),
    et.STEP_OUTPUT: (
        step.ExecutionStepOutputEvent,
        lambda data: {
            "output_name": data.text("outputName"),
            "type_check": data.type_check_or_none("typeCheck"),
            "metadata_entries": data.entries("metadataEntries"),
        },
    ),
    et.STEP_SUCCESS: (
        step.ExecutionStepSuccessEvent,
        lambda data: {"duration_seconds": data.duration_or_none("durationSeconds")},
    ),
    et.STEP_FAILURE: (
        step.ExecutionStepFailureEvent,
        lambda data: {"error": data.error_or_none("error"), "metadata_entries": data.entries("metadataEntries")},
    ),
    et.STEP_SKIPPED: (step.ExecutionStepSkippedEvent, _nothing),
    et.STEP_UP_FOR_RETRY: (
        step.ExecutionStepUpForRetryEvent,
        lambda data: {
            "error": data.error_or_none("error"),
            "seconds_to_wait": data.duration_or_none("secondsToWait"),
        },
    ),
    et.STEP_RESTARTED: (step.ExecutionStepRestartEvent, lambda data: {"attempt": data.integer("attempt")}),
    et.STEP_MATERIALIZATION: (
        step.MaterializationEvent,
        lambda data: {
            "label": data.text("label"),
            "description": data.text_or_none("description"),
            "asset_key": data.texts_or_none("assetKey"),
            "partition": data.text_or_none("partition"),
            "metadata_entries": data.entries("metadataEntries"),
        },
    ),
    et.STEP_EXPECTATION_RESULT: (
        step.ExpectationResultEvent,
        lambda data: {
            "success": data.boolean("success"),
            "label": data.text("label"),
            "description": data.text_or_none("description"),
            "metadata_entries": data.entries("metadataEntries"),
        },
    ),
    et.OBJECT_STORE_OPERATION: (
        step.ObjectStoreOperationEvent,
        lambda data: {
            "op": _operation(data),
            "address": data.text("address"),
            "metadata_entries": data.entries("metadataEntries"),
        },
    ),
    et.LOGS_CAPTURED: (
        step.ComputeLogsCapturedEvent,
        lambda data: {"attempt": data.integer("attempt"), "step_keys": data.texts("stepKeys")},
    ),
}
"""By event type, the GraphQL type and how its own fields are read from the data."""

EVENT_TYPES: tuple[type[Event], ...] = (*(kind for kind, _ in TYPES.values()), UnknownEvent)

_LEVELS = {int(level): level for level in LogLevel}


def _level(number: int) -> LogLevel:
    """The level; a number in between reads as the next lower one."""
    return _LEVELS.get(number) or max((x for x in LogLevel if x <= number), default=LogLevel.DEBUG)


def _told(event_type: str, text: str) -> tuple[type[Event], dict[str, Any]]:
    """The class of an event's object, and what it holds beyond the fields of Event."""
    data = parse_data(text)
    known = TYPES.get(event_type)
    if known is not None and isinstance(data, dict):
        kind, read = known
        try:
            return kind, read(Fields(data))
        except Lacks:
            pass
    return UnknownEvent, {"data": data}


def event_object(record: EventRecord, cursor_prefix: str) -> Event:
    """The object of an event. `cursor_prefix` is that of its log (`event_cursor_prefix`).

    Never raises, whatever is stored.
    """
    kind, own = _told(record.event_type, record.data)
    return kind(
        run_id=strawberry.ID(record.run_id),
        seq=record.seq,
        cursor=Cursor(f"{cursor_prefix}{record.seq}"),
        timestamp=DateTime(record.timestamp_us),
        level=_level(record.level),
        message=record.message,
        event_type=record.event_type,
        step_key=record.step_key,
        **own,
    )


class _Told(dict[tuple[str, str], tuple[type[Event], dict[str, Any]]]):
    """What is told of an event type and data. Most events of a log share theirs: {"attempt": 1}, {"logger": "etl"}."""

    def __missing__(self, key: tuple[str, str]) -> tuple[type[Event], dict[str, Any]]:
        found = self[key] = _told(*key)
        return found


class EventRows(Rows[Event]):
    """Some events of one log."""

    items = Event
    common = frozenset({"run_id", "seq", "cursor", "timestamp", "level", "message", "event_type", "step_key"})

    def __init__(self, records: Sequence[EventRecord], incarnation: str | None) -> None:
        self._records = EventColumns.of(records)
        self._cursor_prefix = event_cursor_prefix(incarnation or "")

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Event]:
        return (event_object(record, self._cursor_prefix) for record in self._records)

    def columns(self) -> Columns:
        """See Rows."""
        columns = _EventColumns(_Stored(self._records.columns, self._cursor_prefix), None, ())
        # What an object is made of beyond the columns: its type.
        columns.check_texts(_EVENT_TYPE)
        columns.check_texts(_DATA)
        return columns

    def by_type(self) -> Sequence[tuple[type, Sequence[int] | None, Columns]]:
        """See Rows."""
        stored = _Stored(self._records.columns, self._cursor_prefix)
        told = _Told()
        found = map(told.__getitem__, zip(stored.columns[_EVENT_TYPE], stored.columns[_DATA], strict=True))
        kinds, own = zip(*found, strict=True)
        if len(set(kinds)) == 1:
            return [(kinds[0], None, _EventColumns(stored, None, own))]
        places: dict[type[Event], list[int]] = {kind: [] for kind, _ in told.values()}
        for place, kind in enumerate(kinds):
            places[kind].append(place)
        return [(kind, found, _EventColumns(stored, found, own)) for kind, found in places.items()]


_EVENT_TYPE = EventRecord._fields.index("event_type")
_DATA = EventRecord._fields.index("data")
_SEQ = EventRecord._fields.index("seq")
_LEVEL = EventRecord._fields.index("level")
_AS_STORED = {
    "run_id": EventRecord._fields.index("run_id"),
    "seq": _SEQ,
    "timestamp": EventRecord._fields.index("timestamp_us"),
    "message": EventRecord._fields.index("message"),
    "event_type": _EVENT_TYPE,
    "step_key": EventRecord._fields.index("step_key"),
}
_TEXT = {str}


class _Stored:
    """Events column by column.

    Raises what making an event's object raises where its level is no number.
    """

    __slots__ = ("columns", "cursor_prefix", "levels")

    def __init__(self, columns: Sequence[Sequence[Any]], cursor_prefix: str) -> None:
        self.columns = columns
        self.cursor_prefix = cursor_prefix
        numbers = columns[_LEVEL]
        levels = list(map(_LEVELS.get, numbers))
        self.levels = levels if None not in levels else list(map(_level, numbers))


class _EventColumns:
    """Some events; `places`: which (None: all); `own`: what each event of all holds beyond the fields of Event."""

    __slots__ = ("_own", "_places", "_stored")

    def __init__(self, stored: _Stored, places: Sequence[int] | None, own: Sequence[dict[str, Any]]) -> None:
        self._stored = stored
        self._places = places
        self._own = own

    def __len__(self) -> int:
        return len(self._stored.levels if self._places is None else self._places)

    def column(self, name: str) -> Sequence[Any]:
        """See Columns."""
        index = _AS_STORED.get(name)
        if index is not None:
            return self._of_these(self._stored.columns[index])
        if name == "cursor":
            prefix = self._stored.cursor_prefix
            return [f"{prefix}{seq}" for seq in self._of_these(self._stored.columns[_SEQ])]
        if name == "level":
            return self._of_these(self._stored.levels)
        return [values[name] for values in self._of_these(self._own)]

    def _of_these(self, column: Sequence[Any]) -> Sequence[Any]:
        return column if self._places is None else picked([column], self._places)[0]

    def check_texts(self, index: int) -> None:
        """Raise Surprise when a column holds something else than texts."""
        if set(map(type, self._stored.columns[index])) != _TEXT:
            raise Surprise(index)
