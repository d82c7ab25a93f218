"""What stands in the log where an event was refused: an event is never lost without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from daglens.storage import event_types as et
from daglens.storage.errors import DaglensError, StorageUnavailable
from daglens.storage.names import clean_text
from daglens.storage.random_ids import random_id
from daglens.storage.records import EventDraft, LogLevel

UNFORESEEN_TRIES: Final = 3
"""So often an append is tried that fails with an error which isn't known to pass. Then its events go one by one: one
that no storage takes must not hold up for ever what comes behind it."""

_TEMPORARY: Final = (StorageUnavailable, OSError, MemoryError)
_FIRST_US: Final = -62_135_596_800_000_000
_LAST_US: Final = 253_402_300_799_999_999
"""The years 1 to 9999, all that a timestamp can say in the API."""

_MOVES_STEP: Final = frozenset(
    {et.STEP_START, et.STEP_RESTARTED, et.STEP_SUCCESS, et.STEP_FAILURE, et.STEP_SKIPPED, et.STEP_UP_FOR_RETRY}
)
_KEPT: Final = frozenset({"attempt", "pipelineName", "processId", "hostname", "durationSeconds", "secondsToWait"})


def is_needed(draft: EventDraft) -> bool:
    """True for events that say where a run or a step stands: kept when others have to go."""
    return draft.event_type in et.STATUS_BY_EVENT_TYPE or draft.event_type in _MOVES_STEP


def is_unforeseen(error: Exception) -> bool:
    """False for errors that pass when whatever is away comes back."""
    return not isinstance(error, _TEMPORARY)


def stand_in(draft: EventDraft, error: Exception) -> EventDraft:
    """The ENGINE_EVENT that takes the place of a refused event; same event id, so that a retry stores it once."""
    return EventDraft(
        et.ENGINE_EVENT,
        level=LogLevel.WARNING,
        message=f"Dropped an event {clean_text(draft.event_type)[:100]!r}: {clean_text(_told(error))}",
        timestamp_us=_storable(draft.timestamp_us),
        event_id=draft.event_id if draft.event_id and len(draft.event_id) <= 64 else random_id(),
        data={"metadataEntries": [{"label": "message", "text": clean_text(draft.message)[:1000]}]},
    )


def shrunk(draft: EventDraft, error: Exception) -> Sequence[EventDraft]:
    """What is stored for an event whose data isn't taken: a note, and where the event says how a run or a step
    stands, the event without its data."""
    note = stand_in(draft, error)
    if not is_needed(draft) or not any(key not in _KEPT for key in draft.data):
        return [note]
    return _with_note(draft, note)


def stand_ins(draft: EventDraft, error: Exception) -> Sequence[Sequence[EventDraft]]:
    """What may be stored for an event that fails for a reason which nobody foresaw; the first that is taken counts."""
    note = stand_in(draft, error)
    return [_with_note(draft, note), [note]] if is_needed(draft) else [[note]]


def _with_note(draft: EventDraft, note: EventDraft) -> Sequence[EventDraft]:
    kept = {key: value for key, value in draft.data.items() if key in _KEPT}
    bare = replace(draft, timestamp_us=_storable(draft.timestamp_us), data=kept)
    return [replace(note, event_id=f"{note.event_id}-note"), bare]


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, DaglensError) else f"{type(error).__name__}: {error}"


def _storable(timestamp_us: int | None) -> int | None:
    """What is refused may be the time itself: then the storage's own takes its place."""
    return timestamp_us if timestamp_us is not None and _FIRST_US <= timestamp_us <= _LAST_US else None


def lost_events(count: int) -> EventDraft:
    """The ENGINE_EVENT that tells of events which nobody had room for."""
    return EventDraft(
        et.ENGINE_EVENT,
        level=LogLevel.WARNING,
        message=f"{count} events were dropped: the storage didn't answer, and too many waited for it.",
        event_id=random_id(),
        data={},
    )
