"""What keeps an instance true and small: projection, the presumed failure of silent runs, deletion. No clock of its
own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage.contract import RunStorage
from daglens.storage.errors import RunDeleted
from daglens.storage.records import (
    FINAL_STATUSES,
    EventDraft,
    EventQuery,
    Head,
    LogLevel,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
    RunSlice,
    RunStatus,
)

PRESUMED_EVENT_ID = "daglens:presumed-failure"
"""One per run, so that any number of servers append it once."""

_PAGE_RUNS = 500
_DELETE_EVENTS = 10_000
_PAGE_ARTIFACTS = 1_000

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
        if not found.has_more or not found.runs:
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


def last_heard_us(run: RunRecord, head: Head | None) -> int:
    """When a recorder last gave a sign of life, by a heartbeat or an event; 0: never."""
    return max(run.heartbeat_at_us or 0, head.heard_at_us if head and head.heard_at_us else 0)


class Silences:
    """How long runs have given no new sign of life, by a clock of this process that never jumps.

    The storage's own clock may jump back: then the last sign of a dead recorder lies in the future for hours. Or
    forward, as when a laptop wakes: then every recorder seems to have been silent for that long.
    """

    def __init__(self, steady_s: Callable[[], float]) -> None:
        """`steady_s` gives seconds since any moment."""
        self._steady_s = steady_s
        self._signs: dict[str, tuple[object, float]] = {}

    def of(self, run_id: str, sign: object) -> float:
        """Seconds since this sign was first seen here."""
        now = self._steady_s()
        known = self._signs.get(run_id)
        if known is None or known[0] != sign:
            known = self._signs[run_id] = (sign, now)
        return now - known[1]

    def keep(self, run_ids: Collection[str]) -> None:
        """Forget all other runs."""
        self._signs = {run_id: seen for run_id, seen in self._signs.items() if run_id in run_ids}


def reap(instance: Instance, *, watching_since_us: int | None = None, silences: Silences | None = None) -> list[str]:
    """Presume dead the runs whose recorders have been silent beyond their timeout; their ids.

    Each gets one RUN_FAILURE with `presumed`, whoever else reaps. A run that never had a heartbeat is left alone.

    Args:
        watching_since_us: When the caller began to watch. Silence counts from the later of this and the last sign of
            life.
        silences: What the caller has seen in earlier calls. With it silence counts from when the caller first saw the
            last sign, by its own clock: so a server that was down presumes nothing at once, and no jump of the
            storage's clock tells of a death or hides one.
    """
    presumed: list[str] = []
    seen: set[str] = set()
    now = instance.runs.now_us()
    for page in unfinished_runs(instance):
        watched = [run for run in page if run.heartbeat_timeout_s is not None and run.heartbeat_at_us is not None]
        if not watched:
            continue
        heads = instance.events.heads([run.run_id for run in watched])
        for run in watched:
            assert run.heartbeat_timeout_s is not None and run.heartbeat_at_us is not None
            head = heads.get(run.run_id)
            heard = last_heard_us(run, head)
            seen.add(run.run_id)
            sign = (run.heartbeat_at_us, head.heard_at_us if head else None, head.last_seq if head else 0)
            if silences is not None:
                silent_s = silences.of(run.run_id, sign)
            else:
                silent_s = (now - max(heard, watching_since_us or 0)) / 1_000_000
            if silent_s <= run.heartbeat_timeout_s:
                continue
            if head is not None and (head.deleted or (head.state.status is not None and head.state.status.is_final)):
                continue
            try:
                instance.append(run.run_id, [_presumed_failure(heard, run.heartbeat_timeout_s)], heard=False)
            except RunDeleted:
                continue  # since its head was read; the others have their turn all the same
            presumed.append(run.run_id)
    if silences is not None:
        silences.keep(seen)
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
class Deletable:
    """What a deletion by filter takes.

    Attributes:
        finished: Ids of runs that have ended, oldest first.
        has_more: There are more finished ones beyond them.
        unfinished: Ids of runs that match but have not ended, oldest first: they stay.
    """

    finished: Sequence[str]
    has_more: bool
    unfinished: Sequence[str]


def deletable(runs: RunStorage, filter: RunFilter, limit: int) -> Deletable:
    """The runs that a deletion by `filter` takes and leaves, at most `limit` (0 … 1,000) of each."""

    def page(statuses: Iterable[RunStatus]) -> RunSlice:
        wanted = set(statuses) if filter.statuses is None else set(statuses) & set(filter.statuses)
        narrowed = replace(filter, statuses=tuple(sorted(wanted)))
        return runs.page(narrowed, newest_first=False, limit=limit, parts=RunParts.NONE)

    finished, unfinished = page(FINAL_STATUSES), page(UNFINISHED)
    return Deletable(
        finished=[run.run_id for run in finished.runs],
        has_more=finished.has_more,
        unfinished=[run.run_id for run in unfinished.runs],
    )


@dataclass(frozen=True, slots=True)
class DeletedRun:
    """What went, or would go, with a run. `bytes` are those of compute logs and artifacts.

    Attributes:
        was_there: False when somebody else removed its row meanwhile.
    """

    run_id: str
    events: int
    bytes: int
    was_there: bool = True


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
    rows = instance.runs.delete([run_id])
    return DeletedRun(run_id, events, gone_bytes, was_there=rows > 0)


def would_delete(instance: Instance, run_ids: Sequence[str]) -> list[DeletedRun]:
    """What `delete_run` would remove with each of these runs (at most 1,000), in order. Changes nothing."""
    heads = instance.events.heads(run_ids)
    logs = instance.compute_logs.list(run_ids)
    return [
        DeletedRun(
            run_id,
            _events_left(instance, heads.get(run_id)),
            sum(file.size_bytes for file in logs.get(run_id, ())) + _artifact_bytes(instance, run_id),
        )
        for run_id in run_ids
    ]


def _events_left(instance: Instance, head: Head | None) -> int:
    if head is None or not head.deleted:
        return 0 if head is None else head.last_seq
    # A deletion was interrupted: events go from the front.
    (first,) = instance.events.read([EventQuery(head.run_id, limit=1)])
    return head.last_seq - first.events[0].seq + 1 if first.events else 0


def _artifact_bytes(instance: Instance, run_id: str) -> int:
    total, after = 0, None
    while True:
        found = instance.artifacts.list(run_id, after, _PAGE_ARTIFACTS)
        total += sum(artifact.size_bytes for artifact in found.artifacts)
        if not found.has_more or not found.artifacts:
            return total
        after = found.artifacts[-1].path
