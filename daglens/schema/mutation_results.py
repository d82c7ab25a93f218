"""What mutations answer."""

from typing import Annotated, Union

import strawberry

from daglens.schema.enums import RunStatus
from daglens.schema.errors import (
    Error,
    InvalidFilterError,
    InvalidInputError,
    RunConflictError,
    RunNotFoundError,
)
from daglens.schema.run import Run
from daglens.schema.scalars import BigInt


@strawberry.type(description="The run is there.")
class CreateRunSuccess:
    run: Run = strawberry.field(description="The run.")
    created: bool = strawberry.field(description="False when the same run was there already.")


@strawberry.type(description="The events are stored, or were before.")
class ReportEventsSuccess:
    accepted: int = strawberry.field(description="How many were stored.")
    duplicates: int = strawberry.field(
        description="How many were left out, because the run has their `eventId` already."
    )
    first_seq: int | None = strawberry.field(description="Null when nothing was new.")
    last_seq: int | None = strawberry.field(description="Null when nothing was new.")
    run: Run = strawberry.field(description="The run afterwards.")


@strawberry.type(description="The heartbeat was noted.")
class HeartbeatSuccess:
    run: Run = strawberry.field(description="The run; a status CANCELING asks its recorder to stop.")


@strawberry.type(description="The log holds the bytes.")
class AppendComputeLogSuccess:
    size_bytes: BigInt = strawberry.field(description="Size of the log afterwards.")


@strawberry.type(description="The offset is beyond the end of the log; nothing was stored.")
class ComputeLogOffsetError(Error):
    size_bytes: BigInt = strawberry.field(description="Where the log ends: go on from here.")


@strawberry.type(description="The tags are on the run.")
class AddRunTagsSuccess:
    run: Run = strawberry.field(description="The run afterwards.")


@strawberry.type(description="The run was asked to stop, or is stopped.")
class TerminateRunSuccess:
    run: Run = strawberry.field(description="The run afterwards: CANCELING, or CANCELED where nobody records it.")


@strawberry.type(description="The run has ended already.")
class RunNotTerminableError(Error):
    run_id: strawberry.ID = strawberry.field(description="The run.")
    status: RunStatus = strawberry.field(description="Where it stands.")


@strawberry.type(description="What was deleted, or would be.")
class DeleteRunsSuccess:
    run_ids: list[strawberry.ID] = strawberry.field(description="The runs that went.")
    runs: int = strawberry.field(description="How many.")
    events: BigInt = strawberry.field(description="How many events went with them.")
    bytes: BigInt = strawberry.field(description="How many bytes of compute logs and artifacts went with them.")
    dry_run: bool = strawberry.field(description="True when nothing was deleted: this is what would go.")
    has_more: bool = strawberry.field(description="More runs match: call again.")
    unfinished: list[strawberry.ID] = strawberry.field(
        description="Match but are not finished, so stay; at most `limit` of them."
    )


CreateRunResult = Annotated[
    Union[CreateRunSuccess, RunConflictError, InvalidInputError],
    strawberry.union("CreateRunResult", description="The run, or why there is none."),
]
ReportEventsResult = Annotated[
    Union[ReportEventsSuccess, RunNotFoundError, InvalidInputError],
    strawberry.union("ReportEventsResult", description="What was stored, or why nothing was."),
]
HeartbeatResult = Annotated[
    Union[HeartbeatSuccess, RunNotFoundError, InvalidInputError],
    strawberry.union("HeartbeatResult", description="The run, or why there is none."),
]
AppendComputeLogResult = Annotated[
    Union[AppendComputeLogSuccess, RunNotFoundError, ComputeLogOffsetError, InvalidInputError],
    strawberry.union("AppendComputeLogResult", description="The log's size, or why nothing was stored."),
]
AddRunTagsResult = Annotated[
    Union[AddRunTagsSuccess, RunNotFoundError, InvalidInputError],
    strawberry.union("AddRunTagsResult", description="The run, or why no tag was added."),
]
TerminateRunResult = Annotated[
    Union[TerminateRunSuccess, RunNotFoundError, RunNotTerminableError],
    strawberry.union("TerminateRunResult", description="The run, or why it can't be stopped."),
]
DeleteRunsResult = Annotated[
    Union[DeleteRunsSuccess, InvalidFilterError],
    strawberry.union("DeleteRunsResult", description="What was deleted, or why nothing was."),
]
