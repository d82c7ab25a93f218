"""Making the drafts of a recorder: stamped with its own clock and an id, so that sending one twice stores it once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from daglens.recorder.logs import level_of
from daglens.recorder.metadata import text
from daglens.storage.drafts import now_us
from daglens.storage.errors import InvalidName
from daglens.storage.names import MAX_NAME_CHARS, check_name, clean_text
from daglens.storage.records import EventDraft, LogLevel


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
        event_id or uuid4().hex,
        {} if data is None else data,
    )


def _level(given: object) -> LogLevel:
    """A level by its number, a name, or INFO: what no storage takes would hold up every event behind it."""
    try:
        return LogLevel[given.upper()] if isinstance(given, str) else level_of(int(given))  # type: ignore[call-overload]
    except Exception:
        return LogLevel.INFO


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
