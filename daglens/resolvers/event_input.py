"""Events as clients hand them in: checked against what the contract says of their types, before anything is stored.

What passes here reads back as its own type, never as UnknownEvent. A type that nobody knows passes with any data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from daglens.resolvers.errors import InvalidInput
from daglens.storage import event_types as et
from daglens.storage.errors import InvalidName
from daglens.storage.names import check_name, clean_text
from daglens.storage.records import EventDraft, LogLevel

MAX_DEPTH: Final = 100
"""How deep data may be nested; deeper would be read back as text."""

_DECIMAL = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_KINDS: Final = ("text", "url", "path", "json", "markdown", "float", "int", "bool")
_OPERATIONS: Final = ("SET_OBJECT", "GET_OBJECT", "RM_OBJECT", "CP_OBJECT")
_EXACT_FLOAT: Final = 2.0**53


@dataclass(frozen=True, slots=True)
class GivenEvent:
    """An event as a client gives it; nothing of it is checked. `data` is any JSON value."""

    event_type: str
    step_key: str | None = None
    level: LogLevel = LogLevel.INFO
    message: str = ""
    timestamp_us: int | None = None
    event_id: str | None = None
    data: Any = None


def drafts(events: Iterable[GivenEvent], pipeline_name: str) -> list[EventDraft]:
    """The events as storages take them. An absent `attempt` is still absent (attempts.py).

    Args:
        pipeline_name: Of the run; stands in where a start of the run doesn't name it.

    Raises:
        InvalidInput: An event can't be taken; with the path of its bad part.
    """
    return [_draft(f"events.{index}", event, pipeline_name) for index, event in enumerate(events)]


def _draft(path: str, event: GivenEvent, pipeline_name: str) -> EventDraft:
    event_type = checked_name(clean_text(event.event_type), f"{path}.eventType", "event type")
    step_key = event.step_key
    if step_key is not None:
        step_key = checked_name(clean_text(step_key), f"{path}.stepKey", "step key")
    elif event_type.startswith("STEP_"):
        raise InvalidInput(f"{path}.stepKey", "An event of a step needs its stepKey.")
    event_id = None if event.event_id is None else checked_name(event.event_id, f"{path}.eventId", "event id")
    try:
        data = _data(event_type, event.data, pipeline_name)
    except _Wrong as wrong:
        raise InvalidInput(f"{path}.data", str(wrong)) from None
    return EventDraft(event_type, step_key, event.level, event.message, event.timestamp_us, event_id, data)


def checked_name(text: str, path: str, what: str) -> str:
    """The text, when it may be a run id, step key, tag key …

    Raises:
        InvalidInput: It can't be one.
    """
    try:
        return check_name(text, what)
    except InvalidName as error:
        raise InvalidInput(path, str(error)) from None


def is_too_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and objects of a JSON value are nested deeper than `levels`."""
    if isinstance(value, dict):
        return levels == 0 or any(is_too_deep(inner, levels - 1) for inner in value.values())
    if isinstance(value, list):
        return levels == 0 or any(is_too_deep(inner, levels - 1) for inner in value)
    return False


# ---------------------------------------------------------------- data


class _Wrong(Exception):
    """Data that can't be taken: where in it, and why."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"`{place}` {why}." if place else f"It {why}.")


Check = Callable[[str, Any], None]
"""Raises _Wrong for a value that isn't one; gets its place in the data."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a type; null is the same as absent."""

    check: Check
    needed: bool = False


def _data(event_type: str, given: Any, pipeline_name: str) -> Mapping[str, Any]:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise _Wrong("", "must be a JSON object")
    if is_too_deep(given):
        raise _Wrong("", f"is nested deeper than {MAX_DEPTH} levels")
    data: dict[str, Any] = given
    if event_type == et.RUN_START and data.get("pipelineName") is None:
        data = {**data, "pipelineName": pipeline_name}
    fields = _FIELDS.get(event_type, _NONE)
    _check_fields("", data, fields)
    if "attempt" in fields and isinstance(data.get("attempt"), float):
        # 2.0 is 2 in JSON; what counts attempts (fold.py) takes integers only.
        data = {**data, "attempt": int(data["attempt"])}
    return data


def _check_fields(place: str, value: Mapping[str, Any], fields: Mapping[str, _Field]) -> None:
    for name, field in fields.items():
        given = value.get(name)
        if given is not None:
            field.check(f"{place}.{name}" if place else name, given)
        elif field.needed:
            raise _Wrong(f"{place}.{name}" if place else name, "is missing")


def _text(place: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _Wrong(place, "must be a text")


def _boolean(place: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _Wrong(place, "must be true or false")


def _number(place: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(place, "must be a number")
    try:
        float(value)
    except OverflowError:
        raise _Wrong(place, "is beyond all floating-point numbers") from None


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        # 3.0 and 1e3 are whole numbers too, as JSON has it, as long as the float is exact.
        return math.isfinite(value) and value.is_integer() and abs(value) <= _EXACT_FLOAT
    return isinstance(value, int) and not isinstance(value, bool)


def _int_32(place: str, value: Any) -> None:
    if not _is_whole(value) or not -(2**31) <= value < 2**31:
        raise _Wrong(place, "must be a whole number of 32 bits")


def _attempt(place: str, value: Any) -> None:
    _int_32(place, value)
    if value < 1:
        raise _Wrong(place, "is counted from 1")


def _int_64(place: str, value: Any) -> None:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if not _is_whole(value) or not -(2**63) <= value < 2**63:
        raise _Wrong(place, "must be a whole number of 64 bits, as a number or a decimal string")


def _texts(place: str, value: Any) -> None:
    _each(place, value, _text)


def _each(place: str, value: Any, check: Check) -> None:
    if not isinstance(value, list):
        raise _Wrong(place, "must be a list")
    for index, item in enumerate(value):
        check(f"{place}.{index}", item)


def _operation(place: str, value: Any) -> None:
    if value not in _OPERATIONS:
        raise _Wrong(place, f"must be one of {', '.join(_OPERATIONS)}")


def _object(fields: Mapping[str, _Field]) -> Check:
    def check(place: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise _Wrong(place, "must be an object")
        _check_fields(place, value, fields)

    return check


def _entries(place: str, value: Any) -> None:
    _each(place, value, _entry)


def _entry(place: str, value: Any) -> None:
    _ENTRY(place, value)
    # Writers with typed records send every kind, all but one of them null; a null alone is the value of `json`, or a
    # `float` that was no number.
    there = [kind for kind in _KINDS if kind in value]
    kinds = [kind for kind in there if value[kind] is not None] or there
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        raise _Wrong(place, f"must have exactly one of {', '.join(_KINDS)}; it has {found}")
    kind = kinds[0]
    if value[kind] is not None:
        _VALUE_OF_KIND[kind](f"{place}.{kind}", value[kind])
    elif kind not in ("json", "float"):
        raise _Wrong(f"{place}.{kind}", "is null")


def _anything(place: str, value: Any) -> None:
    pass


_VALUE_OF_KIND: Final[dict[str, Check]] = {
    "text": _text,
    "url": _text,
    "path": _text,
    "json": _anything,
    "markdown": _text,
    "float": _number,
    "int": _int_64,
    "bool": _boolean,
}

_MAYBE_TEXT = _Field(_text)
_SOME_TEXT = _Field(_text, needed=True)
_MAYBE_NUMBER = _Field(_number)
_ENTRY = _object({"label": _SOME_TEXT, "description": _MAYBE_TEXT})
_METADATA = {"metadataEntries": _Field(_entries)}
_ERROR_FIELDS: dict[str, _Field] = {"className": _MAYBE_TEXT, "message": _SOME_TEXT, "stack": _Field(_texts)}
_ERROR = _Field(_object(_ERROR_FIELDS))
_ERROR_FIELDS["cause"] = _ERROR
_TYPE_CHECK = _Field(
    _object({"success": _Field(_boolean, needed=True), "label": _MAYBE_TEXT, "description": _MAYBE_TEXT, **_METADATA})
)
_NONE: Final[dict[str, _Field]] = {}
_ATTEMPT = {"attempt": _Field(_attempt)}

_FIELDS: Final[dict[str, dict[str, _Field]]] = {
    et.RUN_START: {"pipelineName": _SOME_TEXT, "processId": _Field(_int_32), "hostname": _MAYBE_TEXT},
    et.RUN_FAILURE: {"error": _ERROR, "presumed": _Field(_boolean)},
    et.ENGINE_EVENT: {"error": _ERROR, **_METADATA},
    et.LOG_MESSAGE: {"logger": _MAYBE_TEXT},
    et.STEP_START: _ATTEMPT,
    et.STEP_INPUT: {"inputName": _SOME_TEXT, "typeCheck": _TYPE_CHECK},
    et.STEP_OUTPUT: {"outputName": _SOME_TEXT, "typeCheck": _TYPE_CHECK, **_METADATA},
    et.STEP_SUCCESS: {"durationSeconds": _MAYBE_NUMBER},
    et.STEP_FAILURE: {"error": _ERROR, **_METADATA},
    et.STEP_UP_FOR_RETRY: {"error": _ERROR, "secondsToWait": _MAYBE_NUMBER},
    et.STEP_RESTARTED: _ATTEMPT,
    et.STEP_MATERIALIZATION: {
        "label": _SOME_TEXT,
        "description": _MAYBE_TEXT,
        "assetKey": _Field(_texts),
        "partition": _MAYBE_TEXT,
        **_METADATA,
    },
    et.STEP_EXPECTATION_RESULT: {
        "success": _Field(_boolean, needed=True),
        "label": _SOME_TEXT,
        "description": _MAYBE_TEXT,
        **_METADATA,
    },
    et.OBJECT_STORE_OPERATION: {"op": _Field(_operation, needed=True), "address": _SOME_TEXT, **_METADATA},
    et.LOGS_CAPTURED: {**_ATTEMPT, "stepKeys": _Field(_texts)},
}
"""The fields of each type that has any beyond those of Event. Those of a type that only reads `attempt` for its step
(STEP_SUCCESS …) are unknown keys here."""
