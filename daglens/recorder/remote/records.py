"""What a spool holds: one line per record, with a checksum, so that a line that was torn or damaged is known.

9d0f3c1a E {"eventType":"STEP_START","eventId":"…",…}        an EventInput
0b11e2f7 T [{"key":"team","value":"core"}]                   a list of TagInput
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from daglens.recorder.remote.operations import rfc3339, tag_inputs
from daglens.storage import event_types as et
from daglens.storage.drafts import PreparedEvent
from daglens.storage.records import LogLevel

EVENT: Final = b"E"
TAGS: Final = b"T"

_FINAL: Final = tuple(
    b'{"eventType":"%s"' % name.encode() for name, status in et.STATUS_BY_EVENT_TYPE.items() if status.is_final
)


class SpooledRecord(NamedTuple):
    """One record. `end` is where the next one begins, in bytes from the beginning of its file."""

    kind: bytes
    json: bytes
    end: int


def framed(kind: bytes, text: bytes) -> bytes:
    """A record as it stands in a file."""
    body = kind + b" " + text
    return b"%08x %s\n" % (zlib.crc32(body), body)


def unframed(line: bytes, end: int) -> SpooledRecord | None:
    """The record of a line without its line feed; None when it is damaged."""
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body) or body[1:2] != b" ":
        return None
    return SpooledRecord(body[:1], body[2:], end)


def event_json(event: PreparedEvent) -> bytes:
    """The EventInput of an event; its type comes first (see `is_run_end`)."""
    head = {
        "eventType": event.event_type,
        "eventId": event.event_id,
        "stepKey": event.step_key,
        "level": LogLevel(event.level).name,
        "message": event.message,
        "timestamp": rfc3339(event.timestamp_us),
    }
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))
    return f'{text[:-1]},"data":{event.data_json}}}'.encode()


def tags_json(tags: Sequence[tuple[str, str]]) -> bytes:
    """The TagInputs of tags."""
    return json.dumps(tag_inputs(tags), separators=(",", ":")).encode()


def is_run_end(text: bytes) -> bool:
    """Whether an event, as `event_json` writes it, ends its run."""
    return text.startswith(_FINAL)


def engine_event(event_id: str, message: str, timestamp: str | None = None, original: str | None = None) -> bytes:
    """An ENGINE_EVENT that tells of what was lost on the way.

    Args:
        event_id: The same for the same loss, so that telling it twice stores it once.
        original: Message of the event in whose place it stands.
    """
    event: dict[str, Any] = {
        "eventType": et.ENGINE_EVENT,
        "eventId": event_id,
        "level": LogLevel.WARNING.name,
        "message": message,
        "data": {"metadataEntries": []},
    }
    if original is not None:
        event["data"]["metadataEntries"] = [{"label": "message", "text": original[:1000]}]
    if timestamp is not None:
        event["timestamp"] = timestamp
    return json.dumps(event).encode()
