"""What is asked of a run list, and how it is ordered."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import strawberry

from daglens.schema.arguments import given
from daglens.schema.enums import RunStatus
from daglens.schema.scalars import DateTime
from daglens.storage import records

A = TypeVar("A")
B = TypeVar("B")


@strawberry.input(description="A tag that has to be on the run.")
class TagFilter:
    key: str = strawberry.field(description="The tag's key.")
    value: str | None = strawberry.field(
        default=strawberry.UNSET, description="The tag's value; any value of the key when absent or null."
    )


@strawberry.input(
    description="All parts must hold. Lists mean any of; an empty list matches nothing; a null part is no condition."
)
class RunsFilter:
    run_ids: list[strawberry.ID] | None = strawberry.field(default=strawberry.UNSET, description="Runs of these ids.")
    pipeline_names: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Runs of these pipelines."
    )
    statuses: list[RunStatus] | None = strawberry.field(
        default=strawberry.UNSET, description="Runs that stand at one of these."
    )
    tags: list[TagFilter] | None = strawberry.field(
        default=strawberry.UNSET,
        description="Every one of these tags must be on the run; a tag without a value asks for the key alone.",
    )
    created_after: DateTime | None = strawberry.field(
        default=strawberry.UNSET, description="Created then or later; any offset is accepted."
    )
    created_before: DateTime | None = strawberry.field(default=strawberry.UNSET, description="Created before then.")
    updated_after: DateTime | None = strawberry.field(
        default=strawberry.UNSET, description="Created or changed last then or later."
    )
    updated_before: DateTime | None = strawberry.field(
        default=strawberry.UNSET, description="Created or changed last before then."
    )
    parent_run_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Runs that were made from this run."
    )
    root_run_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The root run itself included."
    )

    def to_record(self) -> records.RunFilter:
        """The filter as storages take it; not checked yet (`resolvers.run_filters`)."""
        return records.RunFilter(
            run_ids=_each(self.run_ids, str),
            pipeline_names=_each(self.pipeline_names, str),
            statuses=_each(self.statuses, RunStatus),
            tags=_each(self.tags, lambda tag: records.TagFilter(tag.key, given(tag.value))),
            created_after_us=given(self.created_after),
            created_before_us=given(self.created_before),
            updated_after_us=given(self.updated_after),
            updated_before_us=given(self.updated_before),
            parent_run_id=given(self.parent_run_id),
            root_run_id=given(self.root_run_id),
        )


def _each(values: Iterable[A] | None, convert: Callable[[A], B]) -> tuple[B, ...] | None:
    values = given(values)
    return None if values is None else tuple(convert(value) for value in values)


def run_filter(filter: RunsFilter | None) -> records.RunFilter:
    """The filter of an optional argument; absent and null match every run."""
    given_filter = given(filter)
    return records.RunFilter() if given_filter is None else given_filter.to_record()
