"""What can be changed. Not carried out yet: each answers NOT_IMPLEMENTED."""

from typing import Annotated, NoReturn

import strawberry

from daglens.resolvers.errors import NotImplementedHere
from daglens.schema.mutation_inputs import AppendComputeLogInput, CreateRunInput, EventInput, TagInput
from daglens.schema.mutation_results import (
    AddRunTagsResult,
    AppendComputeLogResult,
    CreateRunResult,
    DeleteRunsResult,
    HeartbeatResult,
    ReportEventsResult,
    TerminateRunResult,
)
from daglens.schema.run_inputs import RunsFilter

_RunId = Annotated[strawberry.ID, strawberry.argument(description="The run.")]


def _not_yet() -> NoReturn:
    raise NotImplementedHere("Record with the Python API or `daglens record`, and delete with `daglens runs delete`.")


@strawberry.type(description="What can be changed.")
class Mutation:
    @strawberry.mutation(
        description="Adds a run. With a `runId` that exists already: RunConflictError, unless the input equals, value "
        "by value, what the run was first created with, which answers the run that is there. Safe to retry only with a "
        "`runId`. A deleted run's id is a RunConflictError, code RUN_DELETED."
    )
    async def create_run(
        self, input: Annotated[CreateRunInput, strawberry.argument(description="The run.")]
    ) -> CreateRunResult:
        _not_yet()

    @strawberry.mutation(
        description="Stores the events in order, all or none. An event whose `eventId` the run already has is counted "
        "as a duplicate and stored once (safe to retry). NUL and lone surrogates in text read as U+FFFD."
    )
    async def report_events(
        self,
        run_id: _RunId,
        events: Annotated[list[EventInput], strawberry.argument(description="The events, oldest first.")],
    ) -> ReportEventsResult:
        _not_yet()

    @strawberry.mutation(
        description="Says that the recorder lives. Adds nothing to the log. Only a run that has had a heartbeat is "
        "ever presumed dead, `timeoutSeconds` after the last sign of life."
    )
    async def heartbeat(
        self,
        run_id: _RunId,
        timeout_seconds: Annotated[
            int, strawberry.argument(description="Silence after which the run may be presumed dead.")
        ] = 60,
    ) -> HeartbeatResult:
        _not_yet()

    @strawberry.mutation(
        description="Appends to a step's stdout or stderr. `offset` counts decoded bytes, where the writer believes "
        "its data begins: bytes before the present end are skipped, the rest is appended; a gap is "
        "ComputeLogOffsetError; new bytes after `complete` are InvalidInputError."
    )
    async def append_compute_log(
        self, input: Annotated[AppendComputeLogInput, strawberry.argument(description="The bytes.")]
    ) -> AppendComputeLogResult:
        _not_yet()

    @strawberry.mutation(
        description="Adds tags; one value per key, a key that is there is replaced, a key given twice is "
        "InvalidInputError. At most 200 tags a run."
    )
    async def add_run_tags(
        self, run_id: _RunId, tags: Annotated[list[TagInput], strawberry.argument(description="The tags.")]
    ) -> AddRunTagsResult:
        _not_yet()

    @strawberry.mutation(
        description="Asks whoever records the run to stop it: appends RUN_CANCELING, status CANCELING until the "
        "recorder reports the end. A run whose recorder was never heard of, or is silent beyond its timeout, becomes "
        "CANCELED at once. On a CANCELING run: success again."
    )
    async def terminate_run(self, run_id: _RunId) -> TerminateRunResult:
        _not_yet()

    @strawberry.mutation(
        description="Deletes finished runs with their events, compute logs and artifacts, oldest first, at most "
        "`limit` (at most 1000) of them, in bounded batches; `dryRun` only says what would go. A filter without any "
        "condition is InvalidFilterError."
    )
    async def delete_runs(
        self,
        filter: Annotated[RunsFilter, strawberry.argument(description="Which runs.")],
        limit: Annotated[int, strawberry.argument(description="How many runs go at most.")] = 100,
        dry_run: Annotated[bool, strawberry.argument(description="Only say what would go.")] = False,
    ) -> DeleteRunsResult:
        _not_yet()
