"""From a stored event to the object of its type.

Whatever is stored gives an object; what doesn't fit its type, an UnknownEvent.
"""

from collections.abc import Callable, Iterable
from typing import Any

import strawberry

from daglens.resolvers.cursors import event_cursor_prefix
from daglens.schema import run_events as run
from daglens.schema import step_events as step
from daglens.schema.enums import LogLevel, ObjectStoreOperationType
from daglens.schema.event import Event, UnknownEvent
from daglens.schema.event_data import Fields, Lacks, parse_data
from daglens.schema.scalars import Cursor, DateTime
from daglens.storage import event_types as et
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


def event_object(record: EventRecord, cursor_prefix: str) -> Event:
    """The object of an event. `cursor_prefix` is that of its log (`event_cursor_prefix`).

    Never raises, whatever is stored.
    """
    common: dict[str, Any] = {
        "run_id": strawberry.ID(record.run_id),
        "seq": record.seq,
        "cursor": Cursor(f"{cursor_prefix}{record.seq}"),
        "timestamp": DateTime(record.timestamp_us),
        "level": _level(record.level),
        "message": record.message,
        "event_type": record.event_type,
        "step_key": record.step_key,
    }
    data = parse_data(record.data)
    known = TYPES.get(record.event_type)
    if known is not None and isinstance(data, dict):
        kind, read = known
        try:
            return kind(**common, **read(Fields(data)))
        except Lacks:
            pass
    return UnknownEvent(**common, data=data)


def event_objects(records: Iterable[EventRecord], incarnation: str | None) -> list[Event]:
    """The objects of some events of one log."""
    prefix = event_cursor_prefix(incarnation or "")
    return [event_object(record, prefix) for record in records]
