"""What stands in the log where an event was refused: an event is never lost without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import uuid4

from daglens.storage import event_types as et
from daglens.storage.errors import EventTooLarge, InvalidName
from daglens.storage.names import clean_text
from daglens.storage.records import EventDraft, LogLevel

Refusal = EventTooLarge | InvalidName

_MOVES_STEP: Final = frozenset(
    {et.STEP_START, et.STEP_RESTARTED, et.STEP_SUCCESS, et.STEP_FAILURE, et.STEP_SKIPPED, et.STEP_UP_FOR_RETRY}
)
_KEPT: Final = frozenset({"attempt", "pipelineName", "processId", "hostname", "durationSeconds", "secondsToWait"})


def is_needed(draft: EventDraft) -> bool:
    """True for events that say where a run or a step stands: kept when others have to go."""
    return draft.event_type in et.STATUS_BY_EVENT_TYPE or draft.event_type in _MOVES_STEP


def stand_in(draft: EventDraft, error: Refusal) -> EventDraft:
    """The ENGINE_EVENT that takes the place of a refused event; same event id, so that a retry stores it once."""
    return EventDraft(
        et.ENGINE_EVENT,
        level=LogLevel.WARNING,
        message=f"Dropped an event {clean_text(draft.event_type)[:100]!r}: {clean_text(str(error))}",
        timestamp_us=draft.timestamp_us,
        event_id=draft.event_id if draft.event_id and len(draft.event_id) <= 64 else uuid4().hex,
        data={"metadataEntries": [{"label": "message", "text": clean_text(draft.message)[:1000]}]},
    )


def shrunk(draft: EventDraft, error: EventTooLarge) -> Sequence[EventDraft]:
    """What is stored for an event whose data is too large: a note, and where the event says how a run or a step
    stands, the event without its data."""
    note = stand_in(draft, error)
    if not is_needed(draft) or not any(key not in _KEPT for key in draft.data):
        return [note]
    bare = replace(draft, data={key: value for key, value in draft.data.items() if key in _KEPT})
    return [replace(note, event_id=f"{note.event_id}-note"), bare]


def lost_events(count: int) -> EventDraft:
    """The ENGINE_EVENT that tells of events which nobody had room for."""
    return EventDraft(
        et.ENGINE_EVENT,
        level=LogLevel.WARNING,
        message=f"{count} events were dropped: the storage didn't answer, and too many waited for it.",
        event_id=uuid4().hex,
        data={},
    )
