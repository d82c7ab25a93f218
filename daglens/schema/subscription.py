"""What can be watched."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from daglens.schema.arguments import given
from daglens.schema.compute_log import ComputeLogChunkOrError
from daglens.schema.enums import ComputeIO
from daglens.schema.event import EventFilter
from daglens.schema.info import Info
from daglens.schema.live_objects import chunk_messages, event_messages, run_list_messages
from daglens.schema.run_inputs import RunsFilter, run_filter
from daglens.schema.scalars import Cursor
from daglens.schema.subscription_messages import RunEventsMessage, RunsMessage

_RunId = Annotated[strawberry.ID, strawberry.argument(description="The run.")]


@strawberry.type(description="What can be watched.")
class Subscription:
    @strawberry.subscription(
        description="The events of a run after a cursor (from the first when null): history first, then live; each "
        "once, in order of `seq`, none skipped. A first batch comes at once, even empty; an empty batch comes when "
        "only the cursor has moved. Completes when the status is final (not presumed), everything is delivered and 5 s "
        "brought nothing more; a run deleted meanwhile gives RunDeleted, then the end."
    )
    async def run_events(
        self,
        info: Info,
        run_id: _RunId,
        after: Annotated[
            Cursor | None, strawberry.argument(description="A batch's, a page's or an event's cursor.")
        ] = strawberry.UNSET,
        filter: Annotated[
            EventFilter | None, strawberry.argument(description="Which events; all when null.")
        ] = strawberry.UNSET,
    ) -> AsyncGenerator[RunEventsMessage, None]:
        wanted = given(filter)
        place = info.context.place(given(after))
        messages = event_messages(info.context, run_id, place, None if wanted is None else wanted.to_record())
        async with aclosing(messages):
            async for message in messages:
                info.context.cursor = getattr(message, "cursor", None)
                yield message

    @strawberry.subscription(
        description="The live run list: first the newest that match now (at most `limit`), or what changed since "
        "`after`; then changes of any matching run. A change is one of creation, status, tags, startedAt, endedAt; "
        "counts and heartbeats are none. Changes of one run are coalesced to the latest."
    )
    async def runs(
        self,
        info: Info,
        filter: Annotated[
            RunsFilter | None, strawberry.argument(description="Which runs; all when null.")
        ] = strawberry.UNSET,
        limit: Annotated[int, strawberry.argument(description="How many runs the first batch holds at most.")] = 25,
        after: Annotated[Cursor | None, strawberry.argument(description="A batch's cursor.")] = strawberry.UNSET,
    ) -> AsyncGenerator[RunsMessage, None]:
        messages = run_list_messages(info, run_filter(filter), limit, info.context.place(given(after)))
        async with aclosing(messages):
            async for message in messages:
                info.context.cursor = getattr(message, "cursor", None)
                yield message

    @strawberry.subscription(
        description="A step's stdout or stderr after a cursor: what is there, then live, then the end. `attempt` null "
        "means the cursor's, else the latest at subscribing. A first chunk comes at once, even empty, also before the "
        "step has started. Ends when the stream is closed, or when the run is final or a later attempt began and 5 s "
        "brought nothing; a log that never came ends with NOT_CAPTURED."
    )
    async def compute_log(
        self,
        info: Info,
        run_id: _RunId,
        step_key: Annotated[str, strawberry.argument(description="The step.")],
        io_type: Annotated[ComputeIO, strawberry.argument(description="Which stream.")],
        attempt: Annotated[
            int | None, strawberry.argument(description="Number of the attempt, from 1.")
        ] = strawberry.UNSET,
        after: Annotated[Cursor | None, strawberry.argument(description="A chunk's cursor.")] = strawberry.UNSET,
    ) -> AsyncGenerator[ComputeLogChunkOrError, None]:
        place = info.context.place(given(after))
        messages = chunk_messages(info.context, run_id, step_key, io_type, given(attempt), place)
        async with aclosing(messages):
            async for message in messages:
                info.context.cursor = getattr(message, "cursor", None)
                yield message
