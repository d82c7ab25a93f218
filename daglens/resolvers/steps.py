"""Steps of a run, as the events of the steps and the end of the run tell them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidFilter
from daglens.resolvers.limits import MAX_FILTER_VALUES, MAX_STEPS
from daglens.resolvers.loaders import StepsKey
from daglens.resolvers.names import names_only
from daglens.resolvers.runs import seconds_between
from daglens.storage.records import AttemptSpan, RunRecord, StepState, StepStatus

ABANDONED = "ABANDONED"
"""Status of a step, or an attempt, that goes on by its own events although its run has ended."""


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt; `status` is a StepStatus or ABANDONED."""

    attempt: int
    status: str
    started_at_us: int | None
    ended_at_us: int | None


@dataclass(frozen=True, slots=True)
class StepView:
    """A step; `status` is a StepStatus or ABANDONED. `duration_s` goes to now while the step goes on."""

    step_key: str
    status: str
    attempts: int
    spans: Sequence[AttemptView]
    started_at_us: int | None
    ended_at_us: int | None
    duration_s: float | None
    materializations: int
    expectations: int


async def of_run(
    context: RequestContext, run: RunRecord, step_keys: Sequence[str] | None, limit: int
) -> list[StepView]:
    """Steps of a run in order of first appearance; `step_keys` None means all, an empty one none.

    Raises:
        BadLimit, StorageUnavailable
        InvalidFilter: More than 1,000 keys.
    """
    if step_keys is not None and len(step_keys) > MAX_FILTER_VALUES:
        raise InvalidFilter(f"`stepKeys` has {len(step_keys)} values; at most {MAX_FILTER_VALUES} are taken.")
    limit = context.page_limit(limit, MAX_STEPS)
    keys = None if step_keys is None else names_only(step_keys)
    if limit == 0 or keys == ():
        return []
    states = await context.loaders.steps.get(StepsKey(run.run_id, keys, limit))
    now_us = context.clock()
    return [view(run, state, now_us) for state in states]


def view(run: RunRecord, step: StepState, now_us: int) -> StepView:
    """The step of this run; what goes on by itself is abandoned once the run has ended."""
    abandoned = run.status.is_final and not step.status.is_final
    ended_at_us = run.ended_at_us if abandoned else step.ended_at_us
    return StepView(
        step_key=step.step_key,
        status=ABANDONED if abandoned else step.status,
        attempts=step.attempts,
        spans=[_attempt(run, span) for span in step.spans],
        started_at_us=step.started_at_us,
        ended_at_us=ended_at_us,
        duration_s=seconds_between(step.started_at_us, ended_at_us, abandoned or step.status.is_final, now_us),
        materializations=step.materializations,
        expectations=step.expectations,
    )


def _attempt(run: RunRecord, span: AttemptSpan) -> AttemptView:
    if run.status.is_final and span.status is StepStatus.IN_PROGRESS:
        return AttemptView(span.attempt, ABANDONED, span.started_at_us, run.ended_at_us)
    return AttemptView(span.attempt, span.status, span.started_at_us, span.ended_at_us)
