"""Asking for the end of a run."""

from __future__ import annotations

from typing import Final

from daglens.resolvers import runs
from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import RunNotTerminable
from daglens.resolvers.report_events import append, as_logged, run_after
from daglens.resolvers.runs import US_PER_S, last_heard_at_us
from daglens.storage import event_types as et
from daglens.storage.errors import RunNotFound
from daglens.storage.records import EventDraft, Head, LogLevel, RunParts, RunRecord, RunStatus

REQUEST_EVENT_ID: Final = "daglens:terminate"
"""One per run, so that any number of requests, also at once and at several servers, append it once."""
CANCELED_EVENT_ID: Final = "daglens:terminate-canceled"


async def terminate(context: RequestContext, run_id: str, parts: RunParts) -> RunRecord:
    """Ask whoever records the run to stop it; where nobody does, cancel it at once. The run afterwards.

    Raises:
        RunNotTerminable: It has ended, perhaps while this was asked.
        RunNotFound, StorageUnavailable
    """
    row = await runs.one(context, run_id, parts)
    head = (await context.calls.events(lambda storage: storage.heads([run_id]))).get(run_id)
    if head is not None and head.deleted:
        raise RunNotFound(run_id)
    run = as_logged(row, head)
    if run.status.is_final:
        raise RunNotTerminable(run_id, run.status)
    now_us = await context.calls.runs(lambda storage: storage.now_us())
    is_recorded = not is_silent(run, head, now_us)
    if run.status is RunStatus.CANCELING and is_recorded:
        return run
    drafts = [
        EventDraft(
            et.RUN_CANCELING,
            level=LogLevel.WARNING,
            message="Somebody asked for the run's end.",
            event_id=REQUEST_EVENT_ID,
        )
    ]
    if not is_recorded:
        drafts.append(_canceled(run, head))
    appended = await append(context, run_id, drafts, heard=False)
    reached = as_logged(row, appended.head).status
    if reached.is_final and (is_recorded or reached is not RunStatus.CANCELED):
        # The recorder reported the end before the request was stored.
        raise RunNotTerminable(run_id, reached)
    return await run_after(context, row, appended, parts)


def is_silent(run: RunRecord, head: Head | None, now_us: int) -> bool:
    """Whether the recorder was never heard of, or not within its timeout; without one it is never taken for silent."""
    heard_us = last_heard_at_us(run, head)
    if heard_us is None:
        return True
    timeout_s = run.heartbeat_timeout_s
    return timeout_s is not None and now_us - heard_us > timeout_s * US_PER_S


def _canceled(run: RunRecord, head: Head | None) -> EventDraft:
    if last_heard_at_us(run, head) is None:
        why = "nobody has begun to record it"
    else:
        why = f"its recorder has been silent for more than {run.heartbeat_timeout_s} s"
    return EventDraft(
        et.RUN_CANCELED,
        level=LogLevel.WARNING,
        message=f"Canceled at once: {why}.",
        event_id=CANCELED_EVENT_ID,
    )
