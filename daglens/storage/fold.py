"""What a log adds up to: run state, counts and step states, folded event by event. Pure; every storage uses it.

Ranks are the contract's: NOT_STARTED < QUEUED < STARTING < STARTED < CANCELING < SUCCESS, FAILURE, CANCELED. An event
moves a run only upward. One exception: a presumed FAILURE gives way to the end that the recorder itself reports later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from daglens.storage import event_types as et
from daglens.storage.drafts import PreparedEvent
from daglens.storage.records import (
    AttemptSpan,
    EventCounts,
    Head,
    RunRecord,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
)


def moves(status: RunStatus | None, presumed: bool, new: RunStatus, new_presumed: bool) -> bool:
    """Whether a run of `status` becomes `new`."""
    if status is None:
        return True
    if presumed:
        return new.is_final and not new_presumed
    return new.rank > status.rank


def fold_state(state: RunState, seq: int, event_type: str, timestamp_us: int, data: Mapping[str, Any]) -> RunState:
    """The run state after one more event. The same object when the event doesn't change it."""
    new = et.STATUS_BY_EVENT_TYPE.get(event_type)
    if new is None:
        return state
    presumed = event_type == et.RUN_FAILURE and data.get("presumed") is True
    started = state.started_at_us
    if new is RunStatus.STARTED and started is None:
        # A start that comes late (after CANCELING, or in a batch behind the end) still tells when the run began.
        started = timestamp_us
    if moves(state.status, state.presumed, new, presumed):
        ended = timestamp_us if new.is_final else None
        return RunState(status=new, started_at_us=started, ended_at_us=ended, presumed=presumed, state_seq=seq)
    if started != state.started_at_us:
        return replace(state, started_at_us=started, state_seq=seq)
    return state


class RunMove(NamedTuple):
    """What a projection writes to a run row."""

    status: RunStatus
    started_at_us: int | None
    ended_at_us: int | None
    presumed: bool
    projected_seq: int
    changed: bool


def project(run: RunRecord, state: RunState) -> RunMove | None:
    """What `state` makes of the run row, or None when the row has been projected that far already.

    `changed` is False when only `projected_seq` moves: then `updated_at` stays and the change counts for no live list.
    """
    if state.state_seq <= run.projected_seq:
        return None
    status, ended, presumed = run.status, run.ended_at_us, run.presumed
    started = run.started_at_us if run.started_at_us is not None else state.started_at_us
    if state.status is not None and moves(run.status, run.presumed, state.status, state.presumed):
        status, ended, presumed = state.status, state.ended_at_us, state.presumed
    changed = (status, started, ended, presumed) != (run.status, run.started_at_us, run.ended_at_us, run.presumed)
    return RunMove(status, started, ended, presumed, state.state_seq, changed)


# ---------------------------------------------------------------- steps


def _attempt(data: Mapping[str, Any], default: int) -> int:
    value = data.get("attempt")
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**31 - 1 else default


def _set_span(step: StepState, attempt: int, change: Callable[[AttemptSpan], AttemptSpan]) -> StepState:
    # Looked up, not gone through: a batch may restart one step 10,000 times, while every other writer waits.
    spans = step.spans
    place = bisect_left(spans, attempt, key=_ATTEMPT)
    behind = place
    if place < len(spans) and spans[place].attempt == attempt:
        span = spans[place]
        behind += 1
    else:
        span = AttemptSpan(attempt, StepStatus.IN_PROGRESS, None, None)
    spans = (*spans[:place], change(span), *spans[behind:])
    return replace(step, spans=spans, status=spans[-1].status)


_ATTEMPT = attrgetter("attempt")


_END_STATUS = {
    et.STEP_SUCCESS: StepStatus.SUCCESS,
    et.STEP_FAILURE: StepStatus.FAILURE,
    et.STEP_SKIPPED: StepStatus.SKIPPED,
    et.STEP_UP_FOR_RETRY: StepStatus.UP_FOR_RETRY,
}


def fold_step(step: StepState | None, run_id: str, seq: int, event: PreparedEvent) -> StepState:
    """The step after one more of its events (a STEP_… event with a step key).

    An attempt that has ended stays ended; a START of the same attempt that comes late only tells when it began. An
    attempt that is up for retry may still end for good: who gives up, or sends no START of the next, says so that way.
    """
    assert event.step_key is not None
    if step is None:
        step = StepState(run_id, event.step_key, first_seq=seq, status=StepStatus.IN_PROGRESS)
    at, kind = event.timestamp_us, event.event_type
    if kind in (et.STEP_START, et.STEP_RESTARTED):
        after_retry = step.status is StepStatus.UP_FOR_RETRY or kind == et.STEP_RESTARTED
        default = step.attempts + 1 if after_retry and step.spans else step.attempts
        return _set_span(
            step,
            _attempt(event.data, default),
            lambda s: s._replace(started_at_us=at if s.started_at_us is None else s.started_at_us),
        )
    ended = _END_STATUS.get(kind)
    if ended is not None:

        def close(span: AttemptSpan) -> AttemptSpan:
            over = span.status.is_final or span.status is ended
            return span if over else span._replace(status=ended, ended_at_us=at)

        return _set_span(step, _attempt(event.data, step.attempts), close)
    if not step.spans:
        step = _set_span(step, _attempt(event.data, 1), lambda s: s)
    if kind == et.STEP_MATERIALIZATION:
        return replace(step, materializations=step.materializations + 1)
    if kind == et.STEP_EXPECTATION_RESULT:
        return replace(step, expectations=step.expectations + 1)
    return step


_COUNT_OF_STATUS = {
    StepStatus.IN_PROGRESS: "steps_in_progress",
    StepStatus.SUCCESS: "steps_succeeded",
    StepStatus.FAILURE: "steps_failed",
    StepStatus.SKIPPED: "steps_skipped",
}


def step_keys_of(events: Sequence[PreparedEvent]) -> list[str]:
    """Keys of the steps whose states a batch may change, each once; what a storage reads before `fold`."""
    return list(
        dict.fromkeys(e.step_key for e in events if e.step_key is not None and e.event_type in et.STEP_EVENT_TYPES)
    )


class Folded(NamedTuple):
    """A head and the step states after a batch; `steps` holds only those that changed."""

    head: Head
    steps: Mapping[str, StepState]


def fold(
    head: Head, steps: Mapping[str, StepState], events: Sequence[PreparedEvent], heard_at_us: int | None
) -> Folded:
    """Add a batch of new events (their seqs follow the head's) to head and steps.

    Args:
        steps: The present states of (at least) `step_keys_of(events)`; absent where there is none yet.
        heard_at_us: The storage's time when the batch is a sign of life of the recorder, else None.
    """
    state = head.state
    # Made with the first step event: a batch of one log message is the commonest of all.
    counts: dict[str, int] | None = None
    changed: dict[str, StepState] = {}
    seq = head.last_seq
    for event in events:
        seq += 1
        kind = event.event_type
        if kind in et.STATUS_BY_EVENT_TYPE:
            state = fold_state(state, seq, kind, event.timestamp_us, event.data)
        elif kind in et.STEP_EVENT_TYPES:
            if counts is None:
                counts = {name: getattr(head.counts, name) for name in EventCounts.__dataclass_fields__}
            if kind == et.STEP_MATERIALIZATION:
                counts["materializations"] += 1
            elif kind == et.STEP_EXPECTATION_RESULT:
                counts["expectations"] += 1
                if event.data.get("success") is False:
                    counts["expectations_failed"] += 1
            if event.step_key is not None:
                before = changed.get(event.step_key) or steps.get(event.step_key)
                after = fold_step(before, head.run_id, seq, event)
                if after is not before:
                    changed[event.step_key] = after
                if before is None or before.status is not after.status:
                    _recount(counts, before, after)
    return Folded(
        replace(
            head,
            last_seq=seq,
            state=state,
            counts=head.counts if counts is None else EventCounts(**counts),
            heard_at_us=head.heard_at_us if heard_at_us is None else heard_at_us,
        ),
        changed,
    )


def _recount(counts: dict[str, int], before: StepState | None, after: StepState) -> None:
    if before is not None and (old := _COUNT_OF_STATUS.get(before.status)):
        counts[old] -= 1
    if new := _COUNT_OF_STATUS.get(after.status):
        counts[new] += 1


# ---------------------------------------------------------------- batches that only count


_ONLY_COUNTED = frozenset({et.STEP_INPUT, et.STEP_OUTPUT, et.STEP_MATERIALIZATION, et.STEP_EXPECTATION_RESULT})


class Tally(NamedTuple):
    """What a batch adds to a log whose steps are known already: a storage may add it without reading what is there.

    Attributes:
        step_keys: Steps that must be known (have a state), each once; else `fold` is to be asked.
        by_step: (materializations, expectations) of each step that has any.
    """

    step_keys: Sequence[str]
    materializations: int
    expectations: int
    expectations_failed: int
    by_step: Mapping[str, tuple[int, int]]

    @property
    def counts(self) -> bool:
        """Whether any count moves."""
        return self.materializations + self.expectations > 0


def tally(events: Sequence[PreparedEvent]) -> Tally | None:
    """The tally of a batch; None when it is empty or moves the state of the run or a step, which only `fold` can."""
    if not events:
        return None
    keys: dict[str, None] = {}
    by_step: dict[str, tuple[int, int]] = {}
    materializations = expectations = failed = 0
    for event in events:
        kind = event.event_type
        if kind in _ONLY_COUNTED:
            made = int(kind == et.STEP_MATERIALIZATION)
            met = int(kind == et.STEP_EXPECTATION_RESULT)
            materializations += made
            expectations += met
            if met and event.data.get("success") is False:
                failed += 1
            if event.step_key is not None:
                keys[event.step_key] = None
                if made or met:
                    before = by_step.get(event.step_key, (0, 0))
                    by_step[event.step_key] = (before[0] + made, before[1] + met)
        elif kind in et.STEP_EVENT_TYPES or kind in et.STATUS_BY_EVENT_TYPE:
            return None
    return Tally(tuple(keys), materializations, expectations, failed, by_step)
