"""From what a writer hands in to what every storage stores: cleaned, limited, serialised once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from daglens.storage.errors import EventTooLarge, InvalidName
from daglens.storage.names import check_name, clean_text
from daglens.storage.records import EventDraft, EventRecord

MAX_TYPE_CHARS = 255


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Sizes of one event.

    Attributes:
        max_message_chars: A longer message is cut, and says how long it was.
        max_data_bytes: Data that is longer as JSON (UTF-8) is refused.
    """

    max_message_chars: int = 65_536
    max_data_bytes: int = 1_048_576


DEFAULT_LIMITS = EventLimits()

# json.dumps makes a new one in each call that asks for other than its defaults.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _make_encode() -> Callable[[Any], str]:
    # JSONEncoder.encode makes a new encoder in C for each value, which takes longer than to use it. Without a record
    # of what encloses what, a value that holds itself is a RecursionError rather than a ValueError.
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    quote = json.encoder.encode_basestring  # type: ignore[attr-defined,unused-ignore]
    chunks = make(None, _ENCODER.default, quote, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_encode = _make_encode()


class PreparedEvent(NamedTuple):
    """An event ready to be stored; only its seq is missing. `data` is what `data_json` holds.

    A NamedTuple: one is made for each event of each append, and a frozen dataclass takes three times as long.
    """

    event_id: str | None
    event_type: str
    step_key: str | None
    level: int
    message: str
    timestamp_us: int
    data_json: str
    data: Mapping[str, Any]

    def record(self, run_id: str, seq: int) -> EventRecord:
        """The record that is stored at `seq`."""
        return EventRecord(
            run_id,
            seq,
            self.event_id,
            self.event_type,
            self.step_key,
            self.level,
            self.message,
            self.timestamp_us,
            self.data_json,
        )


def now_us() -> int:
    """Microseconds since 1970-01-01 UTC by this machine's clock."""
    return time.time_ns() // 1000


def prepare(drafts: Sequence[EventDraft], now: int, limits: EventLimits = DEFAULT_LIMITS) -> list[PreparedEvent]:
    """Check and serialise a batch. `now` (µs) stands in for absent timestamps.

    Raises:
        EventTooLarge: The data of a draft is over `max_data_bytes`.
        InvalidName: An event type, step key or event id can't be one, or data is no JSON object.
    """
    # A batch has few types and steps: each is looked at once.
    types: set[str] = set()
    steps: set[str] = set()
    prepared = []
    for index, draft in enumerate(drafts):
        event_type, step_key, data = draft.event_type, draft.step_key, draft.data
        if event_type not in types:
            types.add(check_name(event_type, "event type"))
        if step_key is not None and step_key not in steps:
            steps.add(check_name(step_key, "step key"))
        if draft.event_id is not None:
            check_name(draft.event_id, "event id")
        # An abstract class is asked only where the type itself doesn't tell: that is ten times as slow.
        if type(data) is not dict and not isinstance(data, Mapping):
            raise InvalidName(f"Event {index} ({event_type}): data must be a JSON object.")
        data_json = json_text(data) if data else "{}"
        size = len(data_json) if data_json.isascii() else len(data_json.encode())
        if size > limits.max_data_bytes:
            hint = f"Event {index} ({event_type}): {size} bytes of data, at most {limits.max_data_bytes} are taken."
            raise EventTooLarge(hint, index=index)
        prepared.append(
            PreparedEvent(
                draft.event_id,
                event_type,
                step_key,
                int(draft.level),
                cut_message(clean_text(draft.message), limits.max_message_chars),
                now if draft.timestamp_us is None else draft.timestamp_us,
                data_json,
                data,
            )
        )
    return prepared


def cut_message(message: str, max_chars: int) -> str:
    """The message, cut to `max_chars` with a note of how long it was."""
    if len(message) <= max_chars:
        return message
    note = f" … [cut: {len(message)} characters]"
    return message[: max(0, max_chars - len(note))] + note


def json_text(value: Any) -> str:
    """Compact JSON of a value; NUL and lone surrogates in text read as U+FFFD, NaN and infinities as null.

    Raises:
        InvalidName: The value is no JSON (a set, an object …).
    """
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):
        try:
            text = _encode(_finite(value))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidName(f"Event data must be JSON: {error}") from None
    # In JSON text NUL can only stand as the escape (backslash)u0000; text that talks *about* it has the backslash
    # doubled.
    if "\\u0000" in text or not text.isascii():
        text = clean_text(text)
        if "\\u0000" in text:
            text = _encode(_without_nul(json.loads(text)))
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(k): _without_nul(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nul(v) for v in value]
    return value


def without_duplicates(events: Iterable[PreparedEvent], known_ids: set[str]) -> list[PreparedEvent]:
    """The events whose id is not in `known_ids` and was not given earlier in the batch, in order."""
    seen = set(known_ids)
    fresh = []
    for event in events:
        if event.event_id is not None:
            if event.event_id in seen:
                continue
            seen.add(event.event_id)
        fresh.append(event)
    return fresh
