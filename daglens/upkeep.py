"""What keeps an instance true and small: projection, the presumed failure of silent runs, deletion. No clock of its
own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.records import (
    EventDraft,
    LogLevel,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
    RunStatus,
)

PRESUMED_EVENT_ID = "daglens:presumed-failure"
"""One per run, so that any number of servers append it once."""

_PAGE_RUNS = 500
_DELETE_EVENTS = 10_000

UNFINISHED = tuple(status for status in RunStatus if not status.is_final)


def unfinished_runs(instance: Instance) -> Iterator[Sequence[RunRecord]]:
    """Pages of the runs that have not ended, without tags and configuration."""
    after: RunPosition | None = None
    while True:
        found = instance.runs.page(
            RunFilter(statuses=UNFINISHED),
            newest_first=False,
            after=after,
            limit=_PAGE_RUNS,
            parts=RunParts.NONE,
        )
        if found.runs:
            yield found.runs
            last = found.runs[-1]
            after = RunPosition(last.created_at_us, last.run_id)
        if not found.has_more:
            return


def reproject(instance: Instance) -> int:
    """Bring the rows of unfinished runs up to their event logs; how many rows were behind.

    Only needed where the two storages share no transaction (design 5); elsewhere it does nothing.
    """
    if instance.events.projects_into(instance.runs):
        return 0
    behind = 0
    for page in unfinished_runs(instance):
        heads = instance.events.heads([run.run_id for run in page])
        for run in page:
            head = heads.get(run.run_id)
            if head is not None and head.state.state_seq > run.projected_seq:
                instance.runs.project(run.run_id, head.state)
                behind += 1
    return behind


def reap(instance: Instance, *, watching_since_us: int | None = None) -> list[str]:
    """Presume dead the runs whose recorders have been silent beyond their timeout; their ids.

    Each gets one RUN_FAILURE with `presumed`, whoever else reaps. A run that never had a heartbeat is left alone.

    Args:
        watching_since_us: When the caller began to watch (a server: its start). Silence counts from the later of this
            and the last sign of life, so that a server that was down presumes nothing at once.
    """
    presumed: list[str] = []
    now = instance.runs.now_us()
    for page in unfinished_runs(instance):
        watched = [run for run in page if run.heartbeat_timeout_s is not None and run.heartbeat_at_us is not None]
        if not watched:
            continue
        heads = instance.events.heads([run.run_id for run in watched])
        for run in watched:
            assert run.heartbeat_timeout_s is not None and run.heartbeat_at_us is not None
            head = heads.get(run.run_id)
            heard = max(run.heartbeat_at_us, head.heard_at_us if head and head.heard_at_us else 0)
            if now - max(heard, watching_since_us or 0) <= run.heartbeat_timeout_s * 1_000_000:
                continue
            if head is not None and (head.deleted or (head.state.status is not None and head.state.status.is_final)):
                continue
            instance.append(run.run_id, [_presumed_failure(heard, run.heartbeat_timeout_s)], heard=False)
            presumed.append(run.run_id)
    return presumed


def _presumed_failure(heard_us: int, timeout_s: int) -> EventDraft:
    heard = datetime.fromtimestamp(heard_us / 1_000_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    message = (
        f"Presumed dead: the recorder was last heard of at {heard} and has been silent for more than {timeout_s} s."
    )
    return EventDraft(
        event_type=et.RUN_FAILURE,
        level=LogLevel.ERROR,
        message=message,
        event_id=PRESUMED_EVENT_ID,
        data={"presumed": True, "error": {"className": None, "message": message, "stack": []}},
    )


@dataclass(frozen=True, slots=True)
class DeletedRun:
    """What went with a run. `bytes` are those of compute logs and artifacts."""

    run_id: str
    events: int
    bytes: int


def delete_run(instance: Instance, run_id: str) -> DeletedRun:
    """Delete a run with its events, compute logs and artifacts. Killed anywhere, a second call carries on.

    The log is closed first, so a recorder that still writes gets RunDeleted and can't bring the run back; the row goes
    last, so a half-deleted run is still found by the filter that found it.
    """
    instance.events.close_runs([run_id])
    gone_bytes = instance.compute_logs.delete(run_id) + instance.artifacts.delete(run_id)
    events = 0
    while True:
        gone = instance.events.delete(run_id, _DELETE_EVENTS)
        events += gone
        if gone < _DELETE_EVENTS:
            break
    instance.runs.delete([run_id])
    return DeletedRun(run_id, events, gone_bytes)
