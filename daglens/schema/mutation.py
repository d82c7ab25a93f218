"""What can be changed. The root fields of one operation are carried out one after the other."""

from typing import Annotated

import strawberry

from daglens.access import Role
from daglens.resolvers import append_log, create_run, delete_runs, report_events, run_updates, terminate_run
from daglens.resolvers.append_log import GivenLog
from daglens.resolvers.create_run import GivenRun
from daglens.schema.arguments import given
from daglens.schema.enums import ComputeLogEncoding
from daglens.schema.info import Info
from daglens.schema.mutation_inputs import AppendComputeLogInput, CreateRunInput, EventInput, GivenEvents, TagInput
from daglens.schema.mutation_results import (
    AddRunTagsResult,
    AddRunTagsSuccess,
    AppendComputeLogResult,
    AppendComputeLogSuccess,
    CreateRunResult,
    CreateRunSuccess,
    DeleteRunsResult,
    DeleteRunsSuccess,
    HeartbeatResult,
    HeartbeatSuccess,
    ReportEventsResult,
    ReportEventsSuccess,
    TerminateRunResult,
    TerminateRunSuccess,
)
from daglens.schema.mutation_rules import MutationRule, OwnRun
from daglens.schema.run_inputs import RunsFilter
from daglens.schema.run_objects import RunSelection, run_object
from daglens.schema.scalars import BigInt
from daglens.storage.records import LogKey

_RunId = Annotated[strawberry.ID, strawberry.argument(description="The run.")]


@strawberry.type(description="What can be changed.")
class Mutation:
    @strawberry.mutation(
        description="Adds a run. With a `runId` that exists already: RunConflictError, unless the input equals, value "
        "by value, what the run was first created with, which answers the run that is there. Safe to retry only with a "
        "`runId`. A deleted run's id is a RunConflictError, code RUN_DELETED.",
        extensions=[MutationRule(Role.RECORDER)],
    )
    async def create_run(
        self, info: Info, input: Annotated[CreateRunInput, strawberry.argument(description="The run.")]
    ) -> CreateRunResult:
        selection = RunSelection.below(info, "run")
        added = await create_run.create(
            info.context,
            GivenRun(
                pipeline_name=input.pipeline_name,
                run_id=given(input.run_id),
                status=input.status,
                tags=[(tag.key, tag.value) for tag in input.tags],
                run_config=given(input.run_config),
                step_keys_to_execute=given(input.step_keys_to_execute),
                parent_run_id=given(input.parent_run_id),
                root_run_id=given(input.root_run_id),
                created_at_us=given(input.created_at),
            ),
        )
        return CreateRunSuccess(run=await run_object(info, added.run, selection), created=added.created)

    @strawberry.mutation(
        description="Stores the events in order, all or none. An event whose `eventId` the run already has is counted "
        "as a duplicate and stored once (safe to retry). NUL and lone surrogates in text read as U+FFFD.",
        extensions=[OwnRun()],
    )
    async def report_events(
        self,
        info: Info,
        run_id: _RunId,
        events: Annotated[list[EventInput], strawberry.argument(description="The events, oldest first.")],
    ) -> ReportEventsResult:
        selection = RunSelection.below(info, "run")
        reported = await report_events.report(info.context, run_id, GivenEvents(events), selection.parts)
        return ReportEventsSuccess(
            accepted=reported.appended.accepted,
            duplicates=reported.appended.duplicates,
            first_seq=reported.appended.first_seq,
            last_seq=reported.appended.last_seq,
            run=await run_object(info, reported.run, selection),
        )

    @strawberry.mutation(
        description="Says that the recorder lives. Adds nothing to the log. Only a run that has had a heartbeat is "
        "ever presumed dead, `timeoutSeconds` after the last sign of life.",
        extensions=[OwnRun()],
    )
    async def heartbeat(
        self,
        info: Info,
        run_id: _RunId,
        timeout_seconds: Annotated[
            int, strawberry.argument(description="Silence after which the run may be presumed dead.")
        ] = 60,
    ) -> HeartbeatResult:
        run = await run_updates.heartbeat(info.context, run_id, timeout_seconds)
        return HeartbeatSuccess(run=await run_object(info, run, RunSelection.below(info, "run")))

    @strawberry.mutation(
        description="Appends to a step's stdout or stderr. `offset` counts decoded bytes, where the writer believes "
        "its data begins: bytes before the present end are skipped, the rest is appended; a gap is "
        "ComputeLogOffsetError; new bytes after `complete` are InvalidInputError.",
        extensions=[OwnRun()],
    )
    async def append_compute_log(
        self, info: Info, input: Annotated[AppendComputeLogInput, strawberry.argument(description="The bytes.")]
    ) -> AppendComputeLogResult:
        size_bytes = await append_log.append(
            info.context,
            GivenLog(
                key=LogKey(input.run_id, input.step_key, input.attempt),
                io=input.io_type,
                offset=input.offset,
                data=input.data,
                is_base64=input.encoding is ComputeLogEncoding.BASE64,
                complete=input.complete,
            ),
        )
        return AppendComputeLogSuccess(size_bytes=BigInt(size_bytes))

    @strawberry.mutation(
        description="Adds tags; one value per key, a key that is there is replaced, a key given twice is "
        "InvalidInputError. At most 200 tags a run.",
        extensions=[OwnRun()],
    )
    async def add_run_tags(
        self, info: Info, run_id: _RunId, tags: Annotated[list[TagInput], strawberry.argument(description="The tags.")]
    ) -> AddRunTagsResult:
        run = await run_updates.add_tags(info.context, run_id, [(tag.key, tag.value) for tag in tags])
        return AddRunTagsSuccess(run=await run_object(info, run, RunSelection.below(info, "run")))

    @strawberry.mutation(
        description="Asks whoever records the run to stop it: appends RUN_CANCELING, status CANCELING until the "
        "recorder reports the end. A run whose recorder was never heard of, or is silent beyond its timeout, becomes "
        "CANCELED at once. On a CANCELING run: success again.",
        extensions=[OwnRun()],
    )
    async def terminate_run(self, info: Info, run_id: _RunId) -> TerminateRunResult:
        selection = RunSelection.below(info, "run")
        run = await terminate_run.terminate(info.context, run_id, selection.parts)
        return TerminateRunSuccess(run=await run_object(info, run, selection))

    @strawberry.mutation(
        description="Deletes finished runs with their events, compute logs and artifacts, oldest first, at most "
        "`limit` (at most 1000) of them, in bounded batches; `dryRun` only says what would go. A filter without any "
        "condition is InvalidFilterError.",
        extensions=[MutationRule(Role.ADMIN)],
    )
    async def delete_runs(
        self,
        info: Info,
        filter: Annotated[RunsFilter, strawberry.argument(description="Which runs.")],
        limit: Annotated[int, strawberry.argument(description="How many runs go at most.")] = 100,
        dry_run: Annotated[bool, strawberry.argument(description="Only say what would go.")] = False,
    ) -> DeleteRunsResult:
        gone = await delete_runs.delete(info.context, filter.to_record(), limit, dry_run=dry_run)
        return DeleteRunsSuccess(
            run_ids=[strawberry.ID(run.run_id) for run in gone.runs],
            runs=len(gone.runs),
            events=BigInt(sum(run.events for run in gone.runs)),
            bytes=BigInt(sum(run.bytes for run in gone.runs)),
            dry_run=dry_run,
            has_more=gone.has_more,
            unfinished=[strawberry.ID(run_id) for run_id in gone.unfinished],
        )
