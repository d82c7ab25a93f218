"""Storing events that a client reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from daglens.resolvers import attempts, event_input, runs
from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidInput
from daglens.resolvers.event_input import GivenEvent
from daglens.resolvers.threads import Threads
from daglens.storage.contract import EventLogStorage
from daglens.storage.drafts import json_text
from daglens.storage.errors import EventTooLarge, InvalidName, RunDeleted, RunFull, RunNotFound
from daglens.storage.fold import project
from daglens.storage.log_places import LogPlace, received
from daglens.storage.records import Appended, EventDraft, Head, RunParts, RunRecord

_MANY = 200
"""Checking so many events takes milliseconds, in which the event loop should serve others."""
_threads = Threads(2, "daglens-reported-events")


@dataclass(frozen=True, slots=True)
class Reported:
    """What was stored, and the run afterwards."""

    appended: Appended
    run: RunRecord


async def report(context: RequestContext, run_id: str, events: Collection[GivenEvent], parts: RunParts) -> Reported:
    """Store the events, in order, all or none, as a sign of life of the recorder. Many are gone through in a thread.

    Raises:
        RunNotFound: There is no such run, or it is being deleted.
        InvalidInput, StorageUnavailable
    """
    run = await runs.one(context, run_id, parts)
    # What the writer captures it sends here: only this server knows where that is.
    place = getattr(context.instance.compute_logs, "place", None)
    known_place = place if isinstance(place, LogPlace) else None

    def checked(given: Iterable[GivenEvent]) -> list[EventDraft]:
        return [received(draft, known_place) for draft in event_input.drafts(given, run.pipeline_name)]

    drafts = await _threads.carry_out(checked, events) if len(events) > _MANY else checked(events)
    appended = await append(context, run_id, drafts)
    return Reported(appended, await run_after(context, run, appended, parts))


async def append(context: RequestContext, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
    """Append to the log of a run that was there a moment ago, and bring its row up to it.

    Raises:
        RunNotFound, InvalidInput, StorageUnavailable
    """

    def store(storage: EventLogStorage) -> Appended:
        ready = attempts.filled(storage, run_id, drafts) if any(map(attempts.is_open, drafts)) else drafts
        return context.instance.append(run_id, ready, heard=heard, through=storage)

    try:
        return await context.calls.events(store)
    except RunDeleted:
        raise RunNotFound(run_id) from None
    except RunFull as error:
        raise InvalidInput("events", str(error), code=error.code) from error
    except EventTooLarge as error:
        raise InvalidInput(f"events.{error.index}.data", _too_large(drafts, error.index), code=error.code) from error
    except InvalidName as error:
        raise InvalidInput("events", "The event log storage can't take these events.", code=error.code) from error


def _too_large(drafts: Sequence[EventDraft], index: int) -> str:
    # Not the storage's own words, which name what the client sent.
    size_bytes = len(json_text(drafts[index].data).encode()) if index < len(drafts) else 0
    return f"{size_bytes:,} bytes of data are more than the event log storage takes for one event."


async def run_after(context: RequestContext, run: RunRecord, appended: Appended, parts: RunParts) -> RunRecord:
    """The run after an append; its row is read again only when it has moved.

    Raises:
        RunNotFound: It was deleted meanwhile.
        StorageUnavailable
    """
    move = project(run, appended.head.state)
    if move is None or not move.changed:
        return run
    return as_logged(await runs.one(context, run.run_id, parts), appended.head)


def as_logged(run: RunRecord, head: Head | None) -> RunRecord:
    """The run as its log tells it. Where row and log share no transaction, the row is a moment behind."""
    move = None if head is None else project(run, head.state)
    if move is None:
        return run
    return run._replace(
        status=move.status, started_at_us=move.started_at_us, ended_at_us=move.ended_at_us, presumed=move.presumed
    )
