"""Adding a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidInput
from daglens.resolvers.event_input import MAX_DEPTH, checked_name, is_too_deep
from daglens.storage.contract import MAX_TAGS
from daglens.storage.errors import InvalidName, RunConflict, RunDeleted, TooManyTags
from daglens.storage.records import AddedRun, NewRun, RunStatus

_FIRST_STATUSES = (RunStatus.NOT_STARTED, RunStatus.QUEUED)


@dataclass(frozen=True, slots=True)
class GivenRun:
    """A run as a client gives it; nothing of it is checked. `run_id` None: one is made."""

    pipeline_name: str
    run_id: str | None = None
    status: RunStatus = RunStatus.NOT_STARTED
    tags: Sequence[tuple[str, str]] = ()
    run_config: Any = field(default=None)
    step_keys_to_execute: Sequence[str] | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    created_at_us: int | None = None


async def create(context: RequestContext, given: GivenRun) -> AddedRun:
    """Add the run, or find the one that was made with the same values.

    Raises:
        InvalidInput, RunConflict, RunDeleted, StorageUnavailable
    """
    run = _checked(given, context.identity.name)
    try:
        return await context.calls.runs(lambda storage: storage.add(run))
    # The errors are made anew: what a client sent comes back as it was.
    except RunConflict:
        raise RunConflict(run.run_id) from None
    except RunDeleted:
        raise RunDeleted(run.run_id) from None
    except (InvalidName, TooManyTags) as error:
        raise InvalidInput("", "The run storage can't take this run.", code=error.code) from error


def _checked(given: GivenRun, created_by: str | None) -> NewRun:
    run_id = str(uuid4()) if given.run_id is None else checked_name(given.run_id, "runId", "run id")
    pipeline_name = checked_name(given.pipeline_name, "pipelineName", "pipeline name")
    if given.status not in _FIRST_STATUSES:
        raise InvalidInput("status", "A run begins as NOT_STARTED or QUEUED; events move it on (reportEvents).")
    for path, run in (("parentRunId", given.parent_run_id), ("rootRunId", given.root_run_id)):
        if run is not None:
            checked_name(run, path, "run id")
    if is_too_deep(given.run_config):
        raise InvalidInput("runConfig", f"It is nested deeper than {MAX_DEPTH} levels.")
    steps = given.step_keys_to_execute
    return NewRun(
        run_id=run_id,
        pipeline_name=pipeline_name,
        status=given.status,
        tags=checked_tags(given.tags),
        run_config={} if given.run_config is None else given.run_config,
        step_keys_to_execute=None if steps is None else tuple(steps),
        parent_run_id=given.parent_run_id,
        root_run_id=given.root_run_id,
        created_at_us=given.created_at_us,
        created_by=created_by,
    )


def checked_tags(tags: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The tags, when a run may have them all.

    Raises:
        InvalidInput: A key can't be one or is given twice, or there are more than 200.
    """
    if len(tags) > MAX_TAGS:
        raise InvalidInput("tags", f"A run has at most {MAX_TAGS} tags; {len(tags)} were given.", code=TooManyTags.code)
    seen: set[str] = set()
    for index, (key, _) in enumerate(tags):
        path = f"tags.{index}.key"
        checked_name(key, path, "tag key")
        if key in seen:
            raise InvalidInput(path, "The key is given twice.")
        seen.add(key)
    return tuple(tags)
