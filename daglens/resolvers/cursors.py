"""Cursors: places in a list or feed, as text that a client hands back unchanged.

Each begins with its kind and version (`e1`), is safe in a URL and short, and says what it belongs to, so that one that
was taken elsewhere is told from one that fits. Reading one never fails in another way than InvalidCursor.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.names import is_name
from daglens.storage.records import MAX_SEQ, ComputeIO, Head, LogKey, RunFilter, RunPosition

_MAX_CHARS = 32_768
"""More than the longest path in an artifact's cursor comes to."""
_MAX_INT = 2**63 - 1

# ---------------------------------------------------------------- events


class EventPlace(NamedTuple):
    """A place in a run's log: at the event `seq` of the log `incarnation`. The origin (None, 0) is before all."""

    incarnation: str | None
    seq: int


ORIGIN = EventPlace(None, 0)
ORIGIN_CURSOR = "e1..0"
_EVENT = re.compile(r"e1\.([0-9a-f]{16})\.([1-9][0-9]{0,9})", re.ASCII)


def event_cursor_prefix(incarnation: str) -> str:
    """What all event cursors of one log begin with; the seq follows. For those who write many."""
    return f"e1.{incarnation}."


def event_cursor(incarnation: str | None, seq: int) -> str:
    """The cursor of the event `seq`; with seq 0 or without a log, that of the log's beginning."""
    if incarnation is None or seq <= 0:
        return ORIGIN_CURSOR
    return f"e1.{incarnation}.{seq}"


def parse_event_cursor(text: str) -> EventPlace:
    """The place that a cursor names.

    Raises:
        InvalidCursor: This is no event cursor.
    """
    if text == ORIGIN_CURSOR:
        return ORIGIN
    match = _EVENT.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if match is None or int(match[2]) > MAX_SEQ:
        raise InvalidCursor("It is no cursor of an event.")
    return EventPlace(match[1], int(match[2]))


def check_place(place: EventPlace, head: Head | None) -> None:
    """Make sure that a place lies in the log of this head (None: the run has no log). The origin lies in every log.

    Raises:
        InvalidCursor: It belongs to another log (of another run, or of one deleted since), or lies beyond the head.
    """
    if place == ORIGIN:
        return
    if head is None or head.deleted or place.incarnation != head.incarnation:
        raise InvalidCursor("It belongs to the log of another run, or to one that was deleted.")
    if place.seq > head.last_seq:
        raise InvalidCursor(f"It names event {place.seq}; the log ends with {head.last_seq}.")


# ---------------------------------------------------------------- run lists


def filter_digest(filter: RunFilter) -> str:
    """12 hexadecimal digits, equal for filters that mean the same: order and repetition in their lists don't count."""

    def unordered(values: Any) -> Any:
        return None if values is None else sorted(set(values), key=repr)

    meaning = [
        unordered(filter.run_ids),
        unordered(filter.pipeline_names),
        unordered([str(s) for s in filter.statuses] if filter.statuses is not None else None),
        unordered([(t.key, t.value) for t in filter.tags] if filter.tags is not None else None),
        filter.created_after_us,
        filter.created_before_us,
        filter.updated_after_us,
        filter.updated_before_us,
        filter.parent_run_id,
        filter.root_run_id,
    ]
    return _digest(json.dumps(meaning))


def run_cursor(newest_first: bool, digest: str, position: RunPosition | None) -> str:
    """The cursor of a place in a run list of this order and filter; position None is the list's beginning."""
    return _pack("r1", ["N" if newest_first else "O", digest, *(position or ())])


def parse_run_cursor(text: str, newest_first: bool, digest: str) -> RunPosition | None:
    """The position that a cursor names in a run list of this order and filter; None: the list's beginning.

    Raises:
        InvalidCursor: This is no cursor of a run list, or it belongs to one with another order or filter.
    """
    match _unpack("r1", text):
        case [str(order), str(of_filter)]:
            position = None
        case [str(order), str(of_filter), int(created_at_us), str(run_id)] if _is_position(created_at_us, run_id):
            position = RunPosition(created_at_us, run_id)
        case _:
            raise InvalidCursor("It is no cursor of a run list.")
    if order != ("N" if newest_first else "O") or of_filter != digest:
        raise InvalidCursor("It belongs to a run list with another order or another filter.")
    return position


def _is_position(created_at_us: int, run_id: str) -> bool:
    return not isinstance(created_at_us, bool) and abs(created_at_us) <= _MAX_INT and is_name(run_id)


# ---------------------------------------------------------------- changes of runs


def run_changes_cursor(position: str) -> str:
    """The cursor of a position of the run storage (`RunStorage.changes`); it goes with any filter."""
    return _pack("c1", [position])


def parse_run_changes_cursor(text: str) -> str:
    """The position that a cursor names; whether it is one of this storage, only the storage can tell.

    Raises:
        InvalidCursor: This is no cursor of a live list of runs.
    """
    match _unpack("c1", text):
        case [str(position)]:
            return position
    raise InvalidCursor("It is no cursor of a live list of runs.")


# ---------------------------------------------------------------- artifacts


def artifact_cursor(run_id: str, path: str | None) -> str:
    """The cursor after a path in a run's list of artifacts; path None is the list's beginning."""
    return _pack("a1", [_digest(run_id)] if path is None else [_digest(run_id), path])


def parse_artifact_cursor(text: str, run_id: str) -> str | None:
    """The path that a cursor names; None: the list's beginning.

    Raises:
        InvalidCursor: This is no cursor of this run's artifacts.
    """
    match _unpack("a1", text):
        case [str(of_run)]:
            path = None
        case [str(of_run), str(path)] if path and "\0" not in path:
            pass
        case _:
            raise InvalidCursor("It is no cursor of a list of artifacts.")
    if of_run != _digest(run_id):
        raise InvalidCursor("It belongs to the artifacts of another run.")
    return path


# ---------------------------------------------------------------- compute logs

_LOG = re.compile(r"l1\.([1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,18})\.([0-9a-f]{12})", re.ASCII)


class LogPlace(NamedTuple):
    """A place in one stream of one attempt of a step: before the byte `offset`."""

    attempt: int
    offset: int


def log_cursor(key: LogKey, io: ComputeIO, offset: int) -> str:
    """The cursor before byte `offset` of a stream."""
    return f"l1.{key.attempt}.{offset}.{_stream_digest(key.run_id, key.step_key, io)}"


def parse_log_cursor(text: str, run_id: str, step_key: str, io: ComputeIO) -> LogPlace:
    """The place that a cursor names in a stream of some attempt of this step; the log may be shorter than that.

    Raises:
        InvalidCursor: This is no cursor of a compute log, or it belongs to another step, run or stream.
    """
    match = _LOG.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if match is None or int(match[1]) > MAX_SEQ or int(match[2]) > _MAX_INT:
        raise InvalidCursor("It is no cursor of a compute log.")
    if match[3] != _stream_digest(run_id, step_key, io):
        raise InvalidCursor("It belongs to the log of another step, another run or the other stream.")
    return LogPlace(int(match[1]), int(match[2]))


def _stream_digest(run_id: str, step_key: str, io: ComputeIO) -> str:
    return _digest(json.dumps([run_id, step_key, io.value]))


# ---------------------------------------------------------------- text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _pack(kind: str, values: list[Any]) -> str:
    raw = json.dumps(values, separators=(",", ":")).encode()
    return f"{kind}.{urlsafe_b64encode(raw).rstrip(b'=').decode()}"


def _unpack(kind: str, text: str) -> list[Any] | None:
    """The values packed into a cursor of this kind; None for anything that `_pack` can't have written."""
    if len(text) > _MAX_CHARS or not text.startswith(f"{kind}.") or not text.isascii():
        return None
    body = text[len(kind) + 1 :]
    try:
        values = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    # One text per place: whatever else decodes to the same values was tampered with.
    return values if isinstance(values, list) and _pack(kind, values) == text else None
