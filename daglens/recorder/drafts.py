"""Making the drafts of a recorder: stamped with its own clock and an id, so that sending one twice stores it once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from daglens.recorder.plain import text
from daglens.storage.drafts import now_us
from daglens.storage.errors import InvalidName
from daglens.storage.names import MAX_NAME_CHARS, check_name, clean_text
from daglens.storage.random_ids import random_id
from daglens.storage.records import EventDraft, LogLevel

_SIZED_DEPTH: Final = 4


def draft(
    event_type: str,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    step_key: str | None = None,
    level: LogLevel = LogLevel.INFO,
    event_id: str | None = None,
) -> EventDraft:
    """An event of now."""
    return EventDraft(
        event_type,
        step_key,
        _level(level),
        message,
        now_us(),
        event_id or random_id(),
        {} if data is None else data,
    )


def _level(given: object) -> LogLevel:
    """A level by its number, a name, or INFO: what no storage takes would hold up every event behind it."""
    try:
        return LogLevel[given.upper()] if isinstance(given, str) else level_of(int(given))  # type: ignore[call-overload]
    except Exception:
        return LogLevel.INFO


def level_of(number: int) -> LogLevel:
    """The level of a number of `logging`: the nearest below, at least DEBUG."""
    return LogLevel(max(10, min(50, number // 10 * 10)))


def recordable(name: object, what: str) -> str:
    """The name, changed where storages would refuse it: a pipeline doesn't fail because of the key of a step.

    What is no text (a number) is the text that it prints as, None no name. What can't be stored becomes U+FFFD; a name
    that is too long is cut and ends in a digest of the whole.
    """
    name = "" if name is None else text(name)
    try:
        return check_name(name, what)
    except InvalidName:
        cleaned = clean_text(name) or f"(unnamed {what})"
        if len(cleaned) <= MAX_NAME_CHARS:
            return cleaned
        digest = hashlib.sha256(cleaned.encode()).hexdigest()[:16]
        return f"{cleaned[: MAX_NAME_CHARS - 17]}…{digest}"


def rough_size(value: object, depth: int = 0) -> int:
    """About how many bytes of memory an event's texts take."""
    if isinstance(value, EventDraft):
        return 500 + len(value.message) + rough_size(value.data)
    if isinstance(value, str):
        return 50 + len(value)
    if depth > _SIZED_DEPTH:
        return 50
    if isinstance(value, Mapping):
        return sum(50 + rough_size(inner, depth + 1) for inner in value.values())
    if isinstance(value, list | tuple):
        return sum(rough_size(inner, depth + 1) for inner in value)
    return 50
