"""Pages of a run's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING

import anyio

from daglens.resolvers import cursors
from daglens.resolvers.context import RequestContext
from daglens.resolvers.cursors import ORIGIN, EventPlace
from daglens.resolvers.errors import BadWait, InvalidFilter
from daglens.resolvers.limits import MAX_EVENTS, MAX_EVENTS_BYTES, MAX_FILTER_VALUES, MAX_WAIT_S
from daglens.resolvers.loaders import RunKey
from daglens.resolvers.names import is_name, names_only
from daglens.storage.errors import RunNotFound
from daglens.storage.event_columns import EventColumns
from daglens.storage.records import (
    MAX_SEQ,
    EventFilter,
    EventQuery,
    EventRecord,
    EventSlice,
    EventsOrder,
    Head,
    RunParts,
)

if TYPE_CHECKING:
    from daglens.resolvers.live import LiveHub


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """What is asked of a run's events; `after` is a cursor. `wait_s`: how long to wait for a first event."""

    run_id: str
    after: str | None = None
    limit: int = 100
    filter: EventFilter | None = None
    order: EventsOrder = EventsOrder.OLDEST_FIRST
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of one run's events.

    Attributes:
        incarnation: Of the run's log, for the cursors of its events; None when there is no log yet.
        cursor: Where the next page goes on.
        through_seq: Every event up to here (backward: from here) was examined.
    """

    events: Sequence[EventRecord]
    incarnation: str | None
    cursor: str
    through_seq: int
    has_more: bool


async def page(context: RequestContext, request: EventsRequest) -> EventPage:
    """A page of the events of a run that may not be there.

    Raises:
        RunNotFound, InvalidCursor, InvalidFilter, BadLimit, BadWait, StorageUnavailable
    """
    if not is_name(request.run_id):
        raise RunNotFound(request.run_id)
    query, place = _query(context, request)
    hub = _hub(context, request)
    found = await _read(context, query, place)
    if hub is not None and not found.events and not found.has_more and query.limit > 0:
        found = await _wait(context, hub, request, query, place, found)
    return _page(place, found)


async def page_of_known_run(context: RequestContext, request: EventsRequest) -> EventPage:
    """A page of the events of a run whose row was just read; never waits.

    Raises:
        InvalidFilter, BadLimit, StorageUnavailable
    """
    query, place = _query(context, request)
    found = await context.loaders.events.get(query)
    if found.head is not None and found.head.deleted:
        # The run is going, and what is left of its log has holes.
        found = EventSlice(None, (), 0, has_more=False)
    return _page(place, found)


def checked_filter(filter: EventFilter | None) -> EventFilter | None:
    """The filter with each value once, and without names that can't have been stored, which match nothing.

    Raises:
        InvalidFilter: A list holds more than 1,000 values.
    """
    if filter is None:
        return None
    for name, values in (("eventTypes", filter.event_types), ("stepKeys", filter.step_keys)):
        if values is not None and len(values) > MAX_FILTER_VALUES:
            raise InvalidFilter(f"`{name}` has {len(values)} values; at most {MAX_FILTER_VALUES} are taken.")
    checked = replace(
        filter,
        event_types=None if filter.event_types is None else names_only(filter.event_types),
        step_keys=None if filter.step_keys is None else names_only(filter.step_keys),
    )
    return None if checked == EventFilter() else checked


def _query(context: RequestContext, request: EventsRequest) -> tuple[EventQuery, EventPlace]:
    place = ORIGIN if request.after is None else cursors.parse_event_cursor(request.after)
    query = EventQuery(
        run_id=request.run_id,
        # Nothing was examined at the origin, whichever way one goes on from it.
        after_seq=None if place == ORIGIN else place.seq,
        limit=context.page_limit(request.limit, MAX_EVENTS),
        filter=checked_filter(request.filter),
        order=request.order,
    )
    return query, place


def _hub(context: RequestContext, request: EventsRequest) -> LiveHub | None:
    if request.wait_s <= 0:
        return None
    if request.order is not EventsOrder.OLDEST_FIRST:
        raise BadWait("`waitSeconds` goes with OLDEST_FIRST only.")
    return context.begin_waiting()


async def _read(context: RequestContext, query: EventQuery, place: EventPlace) -> EventSlice:
    found = await context.loaders.events.get(query)
    if found.head is None:
        if await context.loaders.run.get(RunKey(query.run_id, RunParts.NONE)) is None:
            raise RunNotFound(query.run_id)
    elif found.head.deleted:
        raise RunNotFound(query.run_id)
    cursors.check_place(place, found.head)
    return found


async def _wait(
    context: RequestContext,
    hub: LiveHub,
    request: EventsRequest,
    query: EventQuery,
    place: EventPlace,
    found: EventSlice,
) -> EventSlice:
    """Wait for a first event that passes the filter; what doesn't pass only moves the cursor."""
    until = anyio.current_time() + min(request.wait_s, MAX_WAIT_S)
    while not found.events and not found.has_more:
        left_s = until - anyio.current_time()
        if left_s <= 0 or not await hub.wait_for_events(query.run_id, found.through_seq, left_s):
            break
        onward = replace(query, after_seq=found.through_seq or None)
        found = await _read(context, onward, _reached(found, place))
    return found


def _reached(found: EventSlice, place: EventPlace) -> EventPlace:
    """The place up to which the slice has examined; that of the request where it examined nothing."""
    head: Head | None = found.head
    if head is None or not 1 <= found.through_seq <= head.last_seq:
        return place
    return EventPlace(head.incarnation, found.through_seq)


def _page(place: EventPlace, found: EventSlice) -> EventPage:
    found = _bounded(found)
    return EventPage(
        events=found.events,
        incarnation=found.head.incarnation if found.head is not None else None,
        cursor=cursors.event_cursor(*_reached(found, place)),
        through_seq=min(found.through_seq, MAX_SEQ),
        has_more=found.has_more,
    )


def _bounded(found: EventSlice) -> EventSlice:
    """The slice, or as much of it as one answer may hold: at least one event."""
    events = EventColumns.of(found.events)
    sizes = list(map(add, map(len, events.columns[_MESSAGE]), map(len, events.columns[_DATA])))
    if sum(sizes) > MAX_EVENTS_BYTES:
        fitting = max(1, sum(1 for total in accumulate(sizes) if total <= MAX_EVENTS_BYTES))
        if fitting < len(events):
            events = events[:fitting]
            return found._replace(events=events, through_seq=events[-1].seq, has_more=True)
    return found._replace(events=events)


_MESSAGE = EventRecord._fields.index("message")
_DATA = EventRecord._fields.index("data")
