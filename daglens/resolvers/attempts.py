"""Numbers of attempts that a writer left out: the step's present one, as the events before say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from daglens.resolvers.errors import InvalidInput
from daglens.storage import event_types as et
from daglens.storage.contract import EventLogStorage
from daglens.storage.drafts import PreparedEvent
from daglens.storage.fold import fold_step
from daglens.storage.records import EventDraft, EventFilter, EventQuery, EventsOrder, StepState

_NUMBERED: Final = frozenset({et.STEP_START, et.STEP_RESTARTED, et.LOGS_CAPTURED})
"""Types whose data has to say which attempt."""

_TELLING: Final = tuple(sorted(et.STEP_EVENT_TYPES))
_LOOKED_AT: Final = 1_000


def is_open(draft: EventDraft) -> bool:
    """Whether the event needs an attempt and names none."""
    return draft.event_type in _NUMBERED and draft.data.get("attempt") is None


def filled(events: EventLogStorage, run_id: str, drafts: Sequence[EventDraft]) -> list[EventDraft]:
    """The drafts, each absent attempt filled in from the step's events so far and those before it in the batch.

    A second STEP_START counts as the attempt that goes on, unless the one before is up for retry; STEP_RESTARTED begins
    the next one.

    Raises:
        InvalidInput: An event without a step key needs an attempt.
        DaglensError: What the storage raises.
    """
    for index, draft in enumerate(drafts):
        if is_open(draft) and draft.step_key is None:
            raise InvalidInput(f"events.{index}.data", "`attempt` is missing, and without a stepKey it can't be told.")
    keys = {draft.step_key for draft in drafts if is_open(draft) and draft.step_key is not None}
    if not keys:
        return list(drafts)
    found = events.steps([run_id], list(keys), limit=len(keys))
    steps = {step.step_key: step for step in found.get(run_id, ())}
    stored = _stored_ids(events, run_id, keys, drafts)
    result = []
    for draft in drafts:
        if draft.step_key not in keys:
            result.append(draft)
            continue
        before = steps.get(draft.step_key)
        is_new = draft.event_id is None or draft.event_id not in stored
        after = _after(before, run_id, draft) if is_new else before
        if after is not None:
            steps[draft.step_key] = after
        if draft.event_id is not None:
            stored.add(draft.event_id)
        if is_open(draft):
            attempt = 1 if after is None else after.attempts
            draft = replace(draft, data={**draft.data, "attempt": attempt})
        result.append(draft)
    return result


def _after(step: StepState | None, run_id: str, draft: EventDraft) -> StepState | None:
    """The step after one more event, as the storage will fold it."""
    if draft.event_type not in et.STEP_EVENT_TYPES:
        return step
    at = 0 if draft.timestamp_us is None else draft.timestamp_us
    event = PreparedEvent(draft.event_id, draft.event_type, draft.step_key, 0, "", at, "", draft.data)
    return fold_step(step, run_id, 1, event)


def _stored_ids(events: EventLogStorage, run_id: str, keys: Iterable[str], drafts: Sequence[EventDraft]) -> set[str]:
    """Ids of the batch that the run has already: they are in the steps' states, and must not count twice.

    Only the newest events are looked at. A batch is sent again when its answer was lost, and that was a moment ago.
    """
    if all(draft.event_id is None for draft in drafts):
        return set()
    (found,) = events.read(
        [
            EventQuery(
                run_id,
                limit=_LOOKED_AT,
                filter=EventFilter(event_types=_TELLING, step_keys=tuple(keys)),
                order=EventsOrder.NEWEST_FIRST,
            )
        ]
    )
    return {event.event_id for event in found.events if event.event_id is not None}
