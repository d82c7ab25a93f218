"""Runs: the type, its pages and result unions."""

from typing import Annotated, Union, cast

import strawberry

from daglens.resolvers import artifacts, compute_logs, events, steps
from daglens.schema import artifact
from daglens.schema.arguments import given
from daglens.schema.artifact import ArtifactPage
from daglens.schema.compute_log import ComputeLog, log_object, text_object
from daglens.schema.enums import EventsOrder, RunStatus
from daglens.schema.errors import InvalidCursorError, InvalidFilterError, RunNotFoundError
from daglens.schema.event import EventFilter, EventPage
from daglens.schema.event_pages import page_object
from daglens.schema.info import Info
from daglens.schema.run_parts import RunStats, StepStats, Tag
from daglens.schema.scalars import JSON, Cursor, DateTime
from daglens.schema.step_objects import step_object
from daglens.storage.records import RunRecord


async def _log_of_step(info: Info, run: RunRecord, step_key: str, attempt: int | None) -> ComputeLog:
    return log_object(await compute_logs.of_step(info.context, run, step_key, attempt))


@strawberry.type(description="One execution of a pipeline.")
class Run:
    record: strawberry.Private[RunRecord]
    run_id: strawberry.ID = strawberry.field(description="Unique in the instance; any text of 1 to 255 characters.")
    pipeline_name: str = strawberry.field(description="What ran.")
    status: RunStatus = strawberry.field(description="Where it stands, by its run-level events.")
    tags: list[Tag] = strawberry.field(description="In order of key.")
    run_config: JSON = strawberry.field(description="What the run was configured with; {} when nothing was given.")
    run_config_yaml: str = strawberry.field(description="The same as YAML.")
    step_keys_to_execute: list[str] | None = strawberry.field(description="Null when the whole pipeline runs.")
    parent_run_id: strawberry.ID | None = strawberry.field(
        description="The run this one was made from, e.g. a retry's."
    )
    root_run_id: strawberry.ID | None = strawberry.field(description="The first run of that chain.")
    created_at: DateTime = strawberry.field(description="By the storage's clock; run lists are ordered by it.")
    updated_at: DateTime = strawberry.field(
        description="When status, tags, startedAt or endedAt last changed, by the storage's clock."
    )
    started_at: DateTime | None = strawberry.field(description="Timestamp of RUN_START.")
    ended_at: DateTime | None = strawberry.field(description="Timestamp of the event that ended it.")
    duration_seconds: float | None = strawberry.field(
        description="Seconds from start to end, or to now while running; null before the start."
    )
    last_heard_at: DateTime | None = strawberry.field(
        description="When the recorder was last heard of (an event or a heartbeat); null when never."
    )
    can_terminate: bool = strawberry.field(description="Neither final nor CANCELING.")
    created_by: str | None = strawberry.field(
        description="Name of the token that created it; null without access control."
    )
    stats: RunStats | None = strawberry.field(description="Counts of steps and events.")

    @strawberry.field(description="In order of first appearance in the event log.")
    async def step_stats(
        self,
        info: Info,
        step_keys: Annotated[
            list[str] | None, strawberry.argument(description="Only these steps; all when null.")
        ] = strawberry.UNSET,
        limit: Annotated[int, strawberry.argument(description="At most 1000.")] = 1000,
    ) -> list[StepStats] | None:
        views = await steps.of_run(info.context, self.record, given(step_keys), limit)
        return [step_object(view) for view in views]

    @strawberry.field(
        description="The first or last events. To walk further use runEventsOrError with this page's cursor."
    )
    async def events(
        self,
        info: Info,
        limit: Annotated[int, strawberry.argument(description="At most 1000.")] = 100,
        filter: Annotated[
            EventFilter | None, strawberry.argument(description="Which events; all when null.")
        ] = strawberry.UNSET,
        order: Annotated[EventsOrder, strawberry.argument(description="From which end.")] = EventsOrder.OLDEST_FIRST,
    ) -> EventPage | None:
        wanted = given(filter)
        query = events.EventsRequest(
            self.record.run_id, limit=limit, filter=None if wanted is None else wanted.to_record(), order=order
        )
        return page_object(await events.page_of_known_run(info.context, query))

    @strawberry.field(description="One per step (latest attempt) that has captured output, in order of step key.")
    async def compute_logs(self, info: Info) -> list[ComputeLog] | None:
        return [log_object(log) for log in await compute_logs.of_run(info.context, self.record)]

    @strawberry.field(
        description="Output of one step. A step without any has a log too, whose files say why there is nothing to "
        "read."
    )
    def compute_log(
        self,
        info: Info,
        step_key: Annotated[str, strawberry.argument(description="The step.")],
        attempt: Annotated[
            int | None, strawberry.argument(description="Number of the attempt, from 1; the latest when null.")
        ] = strawberry.UNSET,
    ) -> ComputeLog | None:
        unread = text_object(info, self.record, step_key, given(attempt))
        # A value at once where there is one: to wait for it costs more than to make it.
        return unread or cast("ComputeLog", _log_of_step(info, self.record, step_key, given(attempt)))

    @strawberry.field(description="Files below the run's folder of the artifact storage, in order of path.")
    async def artifacts(
        self,
        info: Info,
        limit: Annotated[int, strawberry.argument(description="At most 1000.")] = 100,
        after: Annotated[
            Cursor | None, strawberry.argument(description="A page's cursor; from the beginning when null.")
        ] = strawberry.UNSET,
    ) -> ArtifactPage | None:
        return artifact.page_object(await artifacts.page(info.context, self.record.run_id, given(after), limit))


@strawberry.type(description="A page of runs.")
class RunPage:
    nodes: list[Run] = strawberry.field(description="The runs, in the order asked for.")
    cursor: Cursor = strawberry.field(
        description="Hand it back as `after`, with the same filter and order, to go on behind the last run."
    )
    has_more: bool = strawberry.field(description="There are more runs behind this page.")


@strawberry.type(description="How many runs match.")
class RunCount:
    count: int = strawberry.field(description="At most `upTo` (which is at most 100,000).")
    capped: bool = strawberry.field(description="True when there may be more than `upTo`.")


RunsOrError = Annotated[
    Union[RunPage, InvalidFilterError, InvalidCursorError],
    strawberry.union("RunsOrError", description="A page of runs, or why there is none."),
]
RunOrError = Annotated[
    Union[Run, RunNotFoundError], strawberry.union("RunOrError", description="A run, or why there is none.")
]
RunCountOrError = Annotated[
    Union[RunCount, InvalidFilterError],
    strawberry.union("RunCountOrError", description="A count of runs, or why there is none."),
]
