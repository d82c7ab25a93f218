"""What can be asked."""

from typing import Annotated, cast

import strawberry

import daglens
from daglens.resolvers import events, runs
from daglens.schema.arguments import given
from daglens.schema.enums import EventsOrder, RunsOrder
from daglens.schema.event import EventFilter, EventsOrError
from daglens.schema.event_pages import page_object
from daglens.schema.info import Info
from daglens.schema.instance import Instance
from daglens.schema.run import Run, RunCount, RunCountOrError, RunOrError, RunPage, RunsOrError
from daglens.schema.run_inputs import RunsFilter, run_filter
from daglens.schema.run_objects import RunSelection, run_object, run_rows
from daglens.schema.scalars import Cursor, DateTime
from daglens.schema.selection import selected

_Filter = Annotated[RunsFilter | None, strawberry.argument(description="Which runs; all when null.")]
_Prefix = Annotated[str, strawberry.argument(description="Only those that begin with this text.")]
_Names = Annotated[int, strawberry.argument(description="At most 1000.")]


@strawberry.type(description="What can be asked.")
class Query:
    @strawberry.field(description="Version of daglens.")
    def version(self) -> str:
        return daglens.__version__

    @strawberry.field(description="The server's clock; draw what is still running up to here.")
    def now(self, info: Info) -> DateTime:
        return DateTime(info.context.clock())

    @strawberry.field(description="The instance that is served: where runs, events, logs and artifacts are kept.")
    def instance(self, info: Info) -> Instance | None:
        instance = info.context.instance
        return Instance(
            origin=instance.origin,
            home=str(instance.home),
            info=instance.info_yaml() if "info" in selected(info) else "",
        )

    @strawberry.field(
        description="Runs, newest first unless told otherwise. `limit` is capped by the server (default 25, at most "
        "1000)."
    )
    async def runs_or_error(
        self,
        info: Info,
        filter: _Filter = strawberry.UNSET,
        order: Annotated[
            RunsOrder, strawberry.argument(description="Newest or oldest first.")
        ] = RunsOrder.NEWEST_FIRST,
        after: Annotated[
            Cursor | None,
            strawberry.argument(
                description="A page's cursor, with the same filter and order; from the beginning when null."
            ),
        ] = strawberry.UNSET,
        limit: Annotated[int, strawberry.argument(description="How many runs a page holds; at most 1000.")] = 25,
    ) -> RunsOrError | None:
        selection = RunSelection.below(info, "nodes")
        page = await runs.page(
            info.context,
            run_filter(filter),
            newest_first=order is RunsOrder.NEWEST_FIRST,
            after=given(after),
            limit=limit,
            parts=selection.parts,
        )
        return RunPage(
            nodes=cast(list[Run], await run_rows(info, page.runs, selection)),
            cursor=Cursor(page.cursor),
            has_more=page.has_more,
        )

    @strawberry.field(description="One run.")
    async def run_or_error(
        self, info: Info, run_id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
    ) -> RunOrError | None:
        selection = RunSelection.below(info)
        return await run_object(info, await runs.one(info.context, run_id, selection.parts), selection)

    @strawberry.field(description="How many runs match, counted no further than `upTo`.")
    async def run_count_or_error(
        self,
        info: Info,
        filter: _Filter = strawberry.UNSET,
        up_to: Annotated[int, strawberry.argument(description="Where counting stops; at most 100,000.")] = 1000,
    ) -> RunCountOrError | None:
        count, capped = await runs.count(info.context, run_filter(filter), up_to)
        return RunCount(count=count, capped=capped)

    @strawberry.field(
        description="Events of one run after a cursor. Waits up to `waitSeconds` (at most 25, OLDEST_FIRST only, one "
        "waiting field per operation) for a first new event: long polling for clients that can't hold a socket. "
        "NEWEST_FIRST walks back from the end."
    )
    async def run_events_or_error(
        self,
        info: Info,
        run_id: Annotated[strawberry.ID, strawberry.argument(description="The run.")],
        after: Annotated[
            Cursor | None,
            strawberry.argument(
                description="A page's or an event's cursor; from the first event when null (from the last, "
                "NEWEST_FIRST)."
            ),
        ] = strawberry.UNSET,
        limit: Annotated[int, strawberry.argument(description="How many events a page holds; at most 1000.")] = 100,
        filter: Annotated[
            EventFilter | None, strawberry.argument(description="Which events; all when null.")
        ] = strawberry.UNSET,
        order: Annotated[EventsOrder, strawberry.argument(description="Which way to walk.")] = EventsOrder.OLDEST_FIRST,
        wait_seconds: Annotated[
            float, strawberry.argument(description="How long to wait when there is nothing new yet; at most 25.")
        ] = 0,
    ) -> EventsOrError | None:
        wanted = given(filter)
        request = events.EventsRequest(
            run_id,
            after=given(after),
            limit=limit,
            filter=None if wanted is None else wanted.to_record(),
            order=order,
            wait_s=wait_seconds,
        )
        return page_object(await events.page(info.context, request))

    @strawberry.field(description="Tag keys in use, sorted.")
    async def run_tag_keys(self, info: Info, prefix: _Prefix = "", limit: _Names = 25) -> list[str] | None:
        return list(await runs.tag_keys(info.context, prefix, limit))

    @strawberry.field(description="Values in use for one tag key, sorted.")
    async def run_tag_values(
        self,
        info: Info,
        key: Annotated[str, strawberry.argument(description="The key.")],
        prefix: _Prefix = "",
        limit: _Names = 25,
    ) -> list[str] | None:
        return list(await runs.tag_values(info.context, key, prefix, limit))

    @strawberry.field(description="Names of pipelines that have runs, sorted.")
    async def pipeline_names(self, info: Info, prefix: _Prefix = "", limit: _Names = 25) -> list[str] | None:
        return list(await runs.pipeline_names(info.context, prefix, limit))
