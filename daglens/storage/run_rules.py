"""What every run storage does alike: check a new run, merge tags, tell which runs a filter means. Pure.

For events the same is in drafts.py and fold.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from daglens.storage.contract import MAX_TAGS
from daglens.storage.drafts import json_text
from daglens.storage.errors import TooManyTags
from daglens.storage.names import check_name, clean_text
from daglens.storage.records import NewRun, RunFilter, RunParts, RunPosition, RunRecord


def new_record(run: NewRun, now_us: int) -> RunRecord:
    """The record that `run` becomes when it is added at `now_us`.

    Raises:
        InvalidName, TooManyTags: As RunStorage.add says.
    """
    for run_id, what in ((run.parent_run_id, "parent run id"), (run.root_run_id, "root run id")):
        if run_id is not None:
            check_name(run_id, what)
    created = now_us if run.created_at_us is None else run.created_at_us
    steps = run.step_keys_to_execute
    return RunRecord(
        run_id=check_name(run.run_id, "run id"),
        pipeline_name=check_name(run.pipeline_name, "pipeline name"),
        status=run.status,
        tags=merged_tags((), run.tags),
        run_config=json_text(run.run_config),
        step_keys_to_execute=None if steps is None else tuple(clean_text(step) for step in steps),
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        created_at_us=created,
        # No run is updated before it is created, also when its creator's clock is ahead.
        updated_at_us=max(now_us, created),
        started_at_us=run.started_at_us,
        ended_at_us=run.ended_at_us,
        heartbeat_at_us=None,
        heartbeat_timeout_s=None,
        created_by=None if run.created_by is None else clean_text(run.created_by),
        presumed=False,
        projected_seq=0,
        created_with=run.fingerprint(),
    )


def merged_tags(present: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The tags of a run after `new` ones were added, in order of key.

    Raises:
        InvalidName: A key is empty, too long or not storable.
        TooManyTags: There would be more than 200.
    """
    merged = dict(present)
    merged.update((check_name(key, "tag key"), clean_text(value)) for key, value in new)
    if len(merged) > MAX_TAGS:
        raise TooManyTags(f"It would have {len(merged)}.")
    return tuple(sorted(merged.items()))


def position_of(run: RunRecord) -> RunPosition:
    """Where a run stands in a list."""
    return RunPosition(run.created_at_us, run.run_id)


def with_parts(run: RunRecord, parts: RunParts) -> RunRecord:
    """The run as a reader gets it who asks for these parts only."""
    if RunParts.TAGS not in parts:
        run = run._replace(tags=())
    if RunParts.CONFIG not in parts:
        run = run._replace(run_config="{}")
    return run


def matches(run: RunRecord, filter: RunFilter) -> bool:
    """Whether every part of the filter holds for the run."""
    if filter.run_ids is not None and run.run_id not in filter.run_ids:
        return False
    if filter.pipeline_names is not None and run.pipeline_name not in filter.pipeline_names:
        return False
    if filter.statuses is not None and run.status not in filter.statuses:
        return False
    if filter.parent_run_id is not None and run.parent_run_id != filter.parent_run_id:
        return False
    if filter.root_run_id is not None and filter.root_run_id not in (run.root_run_id, run.run_id):
        return False
    if not _within(run.created_at_us, filter.created_after_us, filter.created_before_us):
        return False
    if not _within(run.updated_at_us, filter.updated_after_us, filter.updated_before_us):
        return False
    if filter.tags is not None:
        tags = dict(run.tags)
        # An empty list matches nothing, as everywhere.
        return bool(filter.tags) and all(
            tag.key in tags and (tag.value is None or tags[tag.key] == tag.value) for tag in filter.tags
        )
    return True


def _within(time_us: int, after_us: int | None, before_us: int | None) -> bool:
    return (after_us is None or time_us >= after_us) and (before_us is None or time_us < before_us)
