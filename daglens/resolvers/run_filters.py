"""Filters of run lists as clients send them, made safe for every storage without changing what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from daglens.resolvers.errors import InvalidFilter
from daglens.resolvers.limits import MAX_FILTER_TAGS, MAX_FILTER_VALUES
from daglens.resolvers.names import is_name, names_only
from daglens.storage.names import clean_text
from daglens.storage.records import RunFilter


def checked(filter: RunFilter) -> RunFilter:
    """The filter with each value once, and without names that can't have been stored, which match nothing.

    Raises:
        InvalidFilter: A list holds more than 1,000 values, or more than 200 tags.
    """
    for name, values in (
        ("runIds", filter.run_ids),
        ("pipelineNames", filter.pipeline_names),
        ("statuses", filter.statuses),
    ):
        _check_size(name, values, MAX_FILTER_VALUES)
    _check_size("tags", filter.tags, MAX_FILTER_TAGS)
    checked_filter = replace(
        filter,
        run_ids=None if filter.run_ids is None else names_only(filter.run_ids),
        pipeline_names=None if filter.pipeline_names is None else names_only(filter.pipeline_names),
        statuses=None if filter.statuses is None else tuple(dict.fromkeys(filter.statuses)),
        tags=None if filter.tags is None else tuple(dict.fromkeys(filter.tags)),
    )
    return replace(checked_filter, run_ids=()) if _matches_nothing(filter) else checked_filter


def _check_size(name: str, values: Sequence[object] | None, most: int) -> None:
    if values is not None and len(values) > most:
        raise InvalidFilter(f"`{name}` has {len(values)} values; at most {most} are taken.")


def _matches_nothing(filter: RunFilter) -> bool:
    """Whether a part that has to hold names what can't have been stored."""
    run_ids = [run_id for run_id in (filter.parent_run_id, filter.root_run_id) if run_id is not None]
    tags = filter.tags or ()
    return not (
        all(is_name(run_id) for run_id in run_ids)
        and all(is_name(tag.key) for tag in tags)
        and all(clean_text(tag.value) == tag.value for tag in tags if tag.value is not None)
    )
