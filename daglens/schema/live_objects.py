"""From what the live hub delivers to the messages of subscriptions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import strawberry

from daglens.resolvers import cursors, events, run_filters
from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidCursor, InvalidFilter
from daglens.resolvers.limits import MAX_RUNS
from daglens.resolvers.live import EventBatch, RunGone, RunListBatch, RunListRequest
from daglens.schema.compute_log import ComputeLogChunkOrError, chunk_error, chunk_object
from daglens.schema.errors import InvalidCursorError, InvalidFilterError, RunNotFoundError
from daglens.schema.event import Event
from daglens.schema.event_objects import EventRows
from daglens.schema.info import Info
from daglens.schema.run import Run
from daglens.schema.run_objects import RunSelection, run_rows
from daglens.schema.scalars import Cursor
from daglens.schema.subscription_messages import (
    RunDeleted,
    RunEventsBatch,
    RunEventsMessage,
    RunsBatch,
    RunsMessage,
)
from daglens.storage.errors import LogUnavailable, RunNotFound
from daglens.storage.records import MAX_SEQ, ComputeIO, EventFilter, RunFilter


async def event_messages(
    context: RequestContext, run_id: str, after: str | None, filter: EventFilter | None
) -> AsyncGenerator[RunEventsMessage, None]:
    """The messages of `runEvents`."""
    try:
        feed = context.live().run_events(run_id, after, events.checked_filter(filter))
        async with aclosing(feed) as batches:
            async for batch in batches:
                yield _events_message(batch)
    except RunNotFound as error:
        yield RunNotFoundError.of(error)
    except InvalidCursor as error:
        yield InvalidCursorError.of(error)
    except InvalidFilter as error:
        yield InvalidFilterError.of(error)


def _events_message(batch: EventBatch | RunGone) -> RunEventsMessage:
    if isinstance(batch, RunGone):
        return RunDeleted(run_id=strawberry.ID(batch.run_id))
    return RunEventsBatch(
        events=cast(list[Event], EventRows(batch.events, batch.incarnation)),
        cursor=Cursor(cursors.event_cursor(batch.incarnation, batch.through_seq)),
        through_seq=min(batch.through_seq, MAX_SEQ),
        caught_up=batch.caught_up,
        run_status=batch.run_status,
    )


async def run_list_messages(
    info: Info, filter: RunFilter, limit: int, after: str | None
) -> AsyncGenerator[RunsMessage, None]:
    """The messages of `runs`."""
    context = info.context
    selection = RunSelection.below(info, "changed")
    try:
        request = RunListRequest(
            run_filters.checked(filter),
            context.page_limit(limit, MAX_RUNS),
            None if after is None else cursors.parse_run_changes_cursor(after),
            selection.parts,
        )
        async with aclosing(context.live().runs(request)) as batches:
            async for batch in batches:
                yield await _runs_message(info, batch, selection)
    except InvalidCursor as error:
        yield InvalidCursorError.of(error)
    except InvalidFilter as error:
        yield InvalidFilterError.of(error)


async def _runs_message(info: Info, batch: RunListBatch, selection: RunSelection) -> RunsBatch:
    return RunsBatch(
        changed=cast(list[Run], await run_rows(info, batch.changed, selection)),
        unmatched=[strawberry.ID(run_id) for run_id in batch.unmatched],
        deleted=[strawberry.ID(run_id) for run_id in batch.deleted],
        cursor=Cursor(cursors.run_changes_cursor(batch.position)),
        caught_up=batch.caught_up,
    )


async def chunk_messages(
    context: RequestContext, run_id: str, step_key: str, io: ComputeIO, attempt: int | None, after: str | None
) -> AsyncGenerator[ComputeLogChunkOrError, None]:
    """The messages of `computeLog`."""
    try:
        feed = context.live().compute_log(run_id, step_key, io, attempt, after)
        async with aclosing(feed) as chunks:
            async for chunk in chunks:
                yield chunk_object(chunk)
    except (LogUnavailable, RunNotFound, InvalidCursor) as error:
        yield chunk_error(error)
