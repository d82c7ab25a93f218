"""Why a compute log isn't found, by what the event log says of its capture."""

from __future__ import annotations

from daglens.storage import event_types as et
from daglens.storage.contract import ComputeLogManager, EventLogStorage
from daglens.storage.drafts import now_us
from daglens.storage.errors import LogUnavailable
from daglens.storage.log_places import Captured, LogPlace, LogPlaceKind, hostname, machine, parse_captured
from daglens.storage.records import (
    PROCESS_STEP_KEY,
    EventFilter,
    EventQuery,
    EventsOrder,
    LogKey,
    LogUnavailableReason,
)

WAITED_FOR = (LogUnavailableReason.NOT_CAPTURED, LogUnavailableReason.NOT_UPLOADED_YET)
"""Reasons with which a log may still come."""

_PAGE = 200
_MOST_READS = 25

# As in object_store/capture_upload.py: no rule on the life time of objects acts sooner.
_DAY_US = 86_400_000_000


def explained(events: EventLogStorage, logs: ComputeLogManager, key: LogKey, error: LogUnavailable) -> LogUnavailable:
    """The error of a read of `logs`, with a better reason where it says NOT_CAPTURED and the event log knows one.

    NOT_SHARED: it was captured, and is kept where `logs` doesn't look. NOT_UPLOADED_YET: whoever captured it hasn't
    brought it yet. EXPIRED: it was here. The error itself where no event tells of a capture, or of where.

    Asks the event log, and nothing of `logs` but its place.

    Raises:
        StorageUnavailable
    """
    if error.reason != LogUnavailableReason.NOT_CAPTURED:
        return error
    captured, shared = _captured(events, key)
    told = None if captured is None else _reason(captured, getattr(logs, "place", None))
    if told is None and shared:
        return in_shared_log(key, error)
    return error if told is None else told


def in_shared_log(key: LogKey, error: LogUnavailable) -> LogUnavailable:
    """The error, for a step whose process has one log for several steps."""
    if key.step_key == PROCESS_STEP_KEY:
        return error
    return LogUnavailable(
        error.reason, f"Steps that ran at once in one process share the log of the step key {PROCESS_STEP_KEY}."
    )


def _captured(events: EventLogStorage, key: LogKey) -> tuple[Captured | None, bool]:
    """What the newest event of its capture says; and whether the step shares the log of its process."""
    keys = tuple({key.step_key, PROCESS_STEP_KEY})
    wanted = EventFilter(event_types=(et.LOGS_CAPTURED,), step_keys=keys)
    before, shared = None, False
    for _ in range(_MOST_READS):
        (found,) = events.read([EventQuery(key.run_id, before, _PAGE, wanted, EventsOrder.NEWEST_FIRST)])
        for event in found.events:
            parsed = parse_captured(event.data, event.timestamp_us)
            if parsed is None:
                continue
            attempt, step_keys, captured = parsed
            if event.step_key == key.step_key and attempt == key.attempt:
                return captured, shared
            shared = shared or (event.step_key == PROCESS_STEP_KEY and key.step_key in step_keys)
        if not found.has_more:
            break
        before = found.through_seq
    return None, shared


def _reason(captured: Captured, mine: LogPlace | None) -> LogUnavailable | None:
    place = captured.place
    if place is None:
        return None
    here = hostname()
    recorder = captured.hostname or "The machine of its recorder"
    owner = captured.kept_by or captured.hostname
    if place.kind is LogPlaceKind.DISK and owner is not None and owner != here:
        return _not_shared(f"{_came(captured)} {owner}, in {place.location}, which {here} doesn't see.")
    if place.kind is LogPlaceKind.DISK and _differ(captured.machine, machine()):
        return _not_shared(f"{_came(captured)} another machine that is called {here}, too, in {place.location}.")
    if mine is None:
        return None
    mine = mine.shown()
    if place != mine:
        where = f"{_came(captured)} {owner or 'a machine'}, in {place.location}"
        if place.kind is LogPlaceKind.OBJECT_STORE:
            where = f"It is kept in {place.location}"
        return _not_shared(f"{where}; on {here} dagster.yaml has compute_logs in {mine.location}.")
    if captured.sent:
        return _not_yet(f"{recorder} captured it, and has sent nothing of it yet.")
    if place.kind is LogPlaceKind.DISK:
        return LogUnavailable(LogUnavailableReason.EXPIRED, f"It was in {place.location} on {here}, and is gone.")
    if now_us() - captured.at_us < _DAY_US:
        return _not_yet(f"{recorder} has brought nothing of it to {place.location} yet.")
    return LogUnavailable(
        LogUnavailableReason.EXPIRED,
        f"Nothing of it is in {place.location} any more, as after a rule on the life time of objects; or it never came "
        f"there from {recorder}.",
    )


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _came(captured: Captured) -> str:
    return f"Recorded on {captured.hostname}, it is on the server" if captured.sent else "It was written on"


def _not_shared(where: str) -> LogUnavailable:
    return LogUnavailable(
        LogUnavailableReason.NOT_SHARED,
        f"{where} Let compute_logs in dagster.yaml name the same object store on every machine, or a base_dir that all "
        "of them see.",
    )


def _not_yet(why: str) -> LogUnavailable:
    return LogUnavailable(
        LogUnavailableReason.NOT_UPLOADED_YET,
        f"{why} When its process has ended, `daglens recorder flush` there sends the rest.",
    )
