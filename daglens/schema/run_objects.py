"""From stored runs to their GraphQL objects, with the parts that the operation selects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from types import NoneType
from typing import Any, NamedTuple, Self

import strawberry

from daglens.resolvers import runs
from daglens.schema.compiled import Columns, Rows, Surprise
from daglens.schema.info import Info
from daglens.schema.run import Run
from daglens.schema.run_configs import RunConfig, configs_of
from daglens.schema.run_parts import RunStats, Tag
from daglens.schema.scalars import JSON, DateTime
from daglens.schema.selection import selected
from daglens.schema.step_objects import time_or_none
from daglens.storage.errors import DaglensError
from daglens.storage.records import Head, RunParts, RunRecord, RunStatus


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


async def run_rows(info: Info, records: Sequence[RunRecord], selection: RunSelection) -> RunRows:
    """Some runs as rows; their logs' heads are read in one call, if at all."""
    heads: Mapping[str, Head] | DaglensError = {}
    if selection.heads and records:
        heads = await runs.heads(info.context, [record.run_id for record in records])
    configs = await configs_of(records, json=selection.config, as_yaml=selection.config_yaml)
    now_us = info.context.clock()
    return RunRows(records, heads, configs, now_us)


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
    run = _Told(record, heads, config, now_us)
    return Run(record=record, **{name: read(run) for name, read in _FIELDS.items()})


class _Told(NamedTuple):
    """A run, and what was read for it beside its row."""

    record: RunRecord
    heads: Mapping[str, Head] | DaglensError
    config: RunConfig
    now_us: int

    @property
    def head(self) -> Head | None:
        """The head of its log."""
        return None if isinstance(self.heads, DaglensError) else self.heads.get(self.record.run_id)


def _stats(run: _Told) -> Any:
    if isinstance(run.heads, DaglensError):
        # An exception in the place of a value is raised by graphql-core for that field alone: null, and an entry in
        # errors[].
        return run.heads
    record, head = run.record, run.head
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


def _last_heard_at(run: _Told) -> Any:
    if isinstance(run.heads, DaglensError):
        return run.heads
    return time_or_none(runs.last_heard_at_us(run.record, run.head))


def _tags(run: _Told) -> list[Tag]:
    return [Tag(key=key, value=value) for key, value in run.record.tags]


def _step_keys(run: _Told) -> list[str] | None:
    keys = run.record.step_keys_to_execute
    return None if keys is None else list(keys)


_FIELDS: dict[str, Callable[[_Told], Any]] = {
    "run_id": lambda run: strawberry.ID(run.record.run_id),
    "pipeline_name": lambda run: run.record.pipeline_name,
    "status": lambda run: run.record.status,
    "tags": _tags,
    "run_config": lambda run: JSON(run.config.value),
    "run_config_yaml": lambda run: run.config.yaml,
    "step_keys_to_execute": _step_keys,
    "parent_run_id": lambda run: _id_or_none(run.record.parent_run_id),
    "root_run_id": lambda run: _id_or_none(run.record.root_run_id),
    "created_at": lambda run: DateTime(run.record.created_at_us),
    "updated_at": lambda run: DateTime(run.record.updated_at_us),
    "started_at": lambda run: time_or_none(run.record.started_at_us),
    "ended_at": lambda run: time_or_none(run.record.ended_at_us),
    "duration_seconds": lambda run: runs.duration_s(run.record, run.now_us),
    "last_heard_at": _last_heard_at,
    "can_terminate": lambda run: runs.can_terminate(run.record),
    "created_by": lambda run: run.record.created_by,
    "stats": _stats,
}
"""How each plain field of a run is read."""


_KINDS: dict[str, frozenset[type]] = {
    "run_id": frozenset({str}),
    "status": frozenset({RunStatus}),
    "tags": frozenset({tuple}),
    "step_keys_to_execute": frozenset({tuple, NoneType}),
    "started_at_us": frozenset({int, NoneType}),
    "ended_at_us": frozenset({int, NoneType}),
    "heartbeat_at_us": frozenset({int, NoneType}),
}
"""What has to stand in a record for an object to be made of it."""


_AS_STORED = {
    **{name: name for name in ("run_id", "pipeline_name", "status", "parent_run_id", "root_run_id", "created_by")},
    **{name: f"{name}_us" for name in ("created_at", "updated_at", "started_at", "ended_at")},
}
"""Fields that show a field of the record as it is."""


class TagRows(Rows[Tag]):
    """Tags of one run or of several."""

    items = Tag
    common = frozenset({"key", "value"})
    within_items = True

    def __init__(self, tags: Sequence[tuple[str, str]]) -> None:
        self._tags = tags

    def __len__(self) -> int:
        return len(self._tags)

    def __iter__(self) -> Iterator[Tag]:
        return (Tag(key=key, value=value) for key, value in self._tags)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """See Rows."""
        return cls(list(chain.from_iterable(part._tags for part in parts)))

    def columns(self) -> Columns:
        """See Rows."""
        return self

    def by_type(self) -> Sequence[tuple[type, Sequence[int] | None, Columns]]:
        """See Rows."""
        return [(Tag, None, self)]

    def column(self, name: str) -> Sequence[Any]:
        """See Columns."""
        index = 0 if name == "key" else 1
        return [tag[index] for tag in self._tags]


class RunRows(Rows[Run]):
    """Some runs, with what was read for all of them at once."""

    items = Run
    common = frozenset(_FIELDS)

    def __init__(
        self,
        records: Sequence[RunRecord],
        heads: Mapping[str, Head] | DaglensError,
        configs: Sequence[RunConfig],
        now_us: int,
    ) -> None:
        self._runs = [_Told(record, heads, config, now_us) for record, config in zip(records, configs, strict=True)]
        self._stored: dict[str, Sequence[Any]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return (_object(*run) for run in self._runs)

    def columns(self) -> Columns:
        """See Rows."""
        # Objects are made of whole records: one with something else in its place may not become an object at all,
        # whatever is selected.
        records = zip(*(run.record for run in self._runs), strict=True)
        stored = self._stored = dict(zip(RunRecord._fields, records, strict=True))
        for name, kinds in _KINDS.items():
            if not kinds.issuperset(map(type, stored[name])):
                raise Surprise(name)
        for tag in chain.from_iterable(stored["tags"]):
            if type(tag) is not tuple or len(tag) != 2:
                raise Surprise("tags")
        return self

    def by_type(self) -> Sequence[tuple[type, Sequence[int] | None, Columns]]:
        """See Rows."""
        return [(Run, None, self.columns())]

    def column(self, name: str) -> Sequence[Any]:
        """See Columns."""
        if name in _AS_STORED:
            return self._stored[_AS_STORED[name]]
        if name == "tags":
            return list(map(TagRows, self._stored["tags"]))
        return list(map(_FIELDS[name], self._runs))


def _id_or_none(run_id: str | None) -> strawberry.ID | None:
    return None if run_id is None else strawberry.ID(run_id)
