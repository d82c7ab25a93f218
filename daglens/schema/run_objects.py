"""From stored runs to their GraphQL objects, with the parts that the operation selects."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import strawberry

from daglens.resolvers import runs
from daglens.schema.info import Info
from daglens.schema.run import Run
from daglens.schema.run_configs import RunConfig, configs_of
from daglens.schema.run_parts import RunStats, Tag
from daglens.schema.scalars import JSON, DateTime
from daglens.schema.selection import selected
from daglens.schema.step_objects import time_or_none
from daglens.storage.errors import DaglensError
from daglens.storage.records import Head, RunParts, RunRecord


class RunSelection:
    """What an operation selects of its runs."""

    def __init__(self, fields: frozenset[str]) -> None:
        """`fields` are GraphQL names of fields of Run."""
        self.tags = "tags" in fields
        self.config = "runConfig" in fields
        self.config_yaml = "runConfigYaml" in fields
        self.heads = not fields.isdisjoint({"stats", "lastHeardAt"})

    @classmethod
    def below(cls, info: Info, *path: str) -> Self:
        """What is selected of the runs at `path` below the field being resolved."""
        return cls(selected(info, *path))

    @property
    def parts(self) -> RunParts:
        """What of a run's row has to be read."""
        parts = RunParts.TAGS if self.tags else RunParts.NONE
        return parts | RunParts.CONFIG if self.config or self.config_yaml else parts


async def run_objects(info: Info, records: Sequence[RunRecord], selection: RunSelection) -> list[Run]:
    """The objects of some runs; their logs' heads are read in one call, if at all."""
    heads: Mapping[str, Head] | DaglensError = {}
    if selection.heads and records:
        heads = await runs.heads(info.context, [record.run_id for record in records])
    configs = await configs_of(records, json=selection.config, as_yaml=selection.config_yaml)
    now_us = info.context.clock()
    return [_object(record, heads, config, now_us) for record, config in zip(records, configs, strict=True)]


async def run_object(info: Info, record: RunRecord, selection: RunSelection) -> Run:
    """The object of one run; batched with others of the same operation."""
    heads: Mapping[str, Head] | DaglensError = {}
    if selection.heads:
        try:
            head = await info.context.loaders.head.get(record.run_id)
            heads = {} if head is None else {record.run_id: head}
        except DaglensError as error:
            heads = error
    (config,) = await configs_of([record], json=selection.config, as_yaml=selection.config_yaml)
    return _object(record, heads, config, info.context.clock())


def _object(record: RunRecord, heads: Mapping[str, Head] | DaglensError, config: RunConfig, now_us: int) -> Run:
    stats: Any
    last_heard_at: Any
    if isinstance(heads, DaglensError):
        # An exception in the place of a value is raised by graphql-core for that field alone: null, and an entry in
        # errors[].
        stats = last_heard_at = heads
    else:
        head = heads.get(record.run_id)
        stats = _stats(record, head)
        last_heard_at = time_or_none(runs.last_heard_at_us(record, head))
    return Run(
        record=record,
        run_id=strawberry.ID(record.run_id),
        pipeline_name=record.pipeline_name,
        status=record.status,
        tags=[Tag(key=key, value=value) for key, value in record.tags],
        run_config=JSON(config.value),
        run_config_yaml=config.yaml,
        step_keys_to_execute=None if record.step_keys_to_execute is None else list(record.step_keys_to_execute),
        parent_run_id=_id_or_none(record.parent_run_id),
        root_run_id=_id_or_none(record.root_run_id),
        created_at=DateTime(record.created_at_us),
        updated_at=DateTime(record.updated_at_us),
        started_at=time_or_none(record.started_at_us),
        ended_at=time_or_none(record.ended_at_us),
        duration_seconds=runs.duration_s(record, now_us),
        last_heard_at=last_heard_at,
        can_terminate=runs.can_terminate(record),
        created_by=record.created_by,
        stats=stats,
    )


def _id_or_none(run_id: str | None) -> strawberry.ID | None:
    return None if run_id is None else strawberry.ID(run_id)


def _stats(record: RunRecord, head: Head | None) -> RunStats:
    counts = runs.counts(head)
    return RunStats(
        steps_in_progress=0 if record.status.is_final else counts.steps_in_progress,
        steps_succeeded=counts.steps_succeeded,
        steps_failed=counts.steps_failed,
        steps_skipped=counts.steps_skipped,
        materializations=counts.materializations,
        expectations=counts.expectations,
        expectations_failed=counts.expectations_failed,
        events=head.last_seq if head is not None and not head.deleted else 0,
    )
