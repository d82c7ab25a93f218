"""Event log storages with one mistake each, in what a log adds up to, how it ends, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from daglens.storage.contract import Watch
from daglens.storage.errors import RunDeleted
from daglens.storage.memory import InMemoryEventLogStorage
from daglens.storage.records import (
    Appended,
    EventCounts,
    EventDraft,
    EventQuery,
    EventSlice,
    Head,
    RunStatus,
    StepState,
)

# ---------------------------------------------------------------- folding


class LateStartWins(InMemoryEventLogStorage):
    """The newest event decides the status, whatever its rank."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        answer = super().append(run_id, drafts, heard=heard)
        if answer.accepted and drafts[-1].event_type == "RUN_START":
            head = replace(answer.head, state=replace(answer.head.state, status=RunStatus.STARTED, ended_at_us=None))
            self._logs[run_id].head = head
            return answer._replace(head=head)
        return answer


class CountsTheLastBatch(InMemoryEventLogStorage):
    """Counts begin anew with every append."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        with self._lock:
            if run_id in self._logs:
                self._logs[run_id].head = replace(self._logs[run_id].head, counts=EventCounts())
        return super().append(run_id, drafts, heard=heard)


class _StepFault(InMemoryEventLogStorage):
    """Base: tells of steps what `_misread` makes of it."""

    def _misread(self, steps: Sequence[StepState]) -> Sequence[StepState]:
        raise NotImplementedError

    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        return {run_id: self._misread(s) for run_id, s in super().steps(run_ids, step_keys, limit).items()}


class ForgetsEarlierAttempts(_StepFault):
    """Only the last attempt of a step is kept."""

    def _misread(self, steps: Sequence[StepState]) -> Sequence[StepState]:
        return [replace(step, spans=step.spans[-1:]) for step in steps]


class StepsInOrderOfKey(_StepFault):
    """Steps are listed by name."""

    def _misread(self, steps: Sequence[StepState]) -> Sequence[StepState]:
        return sorted(steps, key=lambda step: step.step_key)


# ---------------------------------------------------------------- deletion


class DropsHeadsOnDelete(InMemoryEventLogStorage):
    """With the last event the head goes, and a late writer begins a new log."""

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        gone = super().delete(run_id, max_events)
        with self._lock:
            if run_id in self._logs and self._logs[run_id].head.deleted and gone < max_events:
                del self._logs[run_id], self._closed_at_us[run_id]
        return gone


class AppendsToClosedRuns(InMemoryEventLogStorage):
    """A late writer is served."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        with self._lock:
            if run_id in self._logs:
                self._logs[run_id].head = replace(self._logs[run_id].head, deleted=False)
        return super().append(run_id, drafts, heard=heard)


class DeletesOpenRuns(InMemoryEventLogStorage):
    """Events go without the run having been closed."""

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        if run_id in self._logs:
            self.close_runs([run_id])
        return super().delete(run_id, max_events)


class DeletesAllAtOnce(InMemoryEventLogStorage):
    """One transaction for a log of any size."""

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        return super().delete(run_id, 1_000_000)


class StepsStayBehind(InMemoryEventLogStorage):
    """Step states outlive their events."""

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        steps = dict(self._logs[run_id].steps) if run_id in self._logs else {}
        gone = super().delete(run_id, max_events)
        if run_id in self._logs:
            self._logs[run_id].steps.update(steps)
        return gone


class TombstonesForEver(InMemoryEventLogStorage):
    """A deleted id is never free again."""

    def _drop_old_tombstones(self) -> None:
        return


class TombstonesGoWithDeletions(InMemoryEventLogStorage):
    """An id is free again when something else is deleted, however long that takes."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        if any(head.deleted for head in self.heads([run_id]).values()):
            raise RunDeleted(run_id)
        return super().append(run_id, drafts, heard=heard)


# ---------------------------------------------------------------- watching, names


class NeverTells(InMemoryEventLogStorage):
    """Says CALLBACK, and calls nobody."""

    def _tell(self, run_id: str) -> None:
        return


class OneBadWatcherEndsAll(InMemoryEventLogStorage):
    """The first callback that raises ends every watch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._dead = False

    def watch(self, on_news: Callable[[str | None], None]) -> Watch:
        def tell(run_id: str | None) -> None:
            if self._dead:
                return
            try:
                on_news(run_id)
            except Exception:
                self._dead = True

        return super().watch(tell)


class GoesOnAfterStop(InMemoryEventLogStorage):
    """A stopped watch is still called."""

    def watch(self, on_news: Callable[[str | None], None]) -> Watch:
        super().watch(on_news)
        return super().watch(lambda run_id: None)


class SplitsIdsAtUnderscores(InMemoryEventLogStorage):
    """The hint is `<run id>_<seq>`, taken apart at the first underscore."""

    def _tell(self, run_id: str) -> None:
        super()._tell(f"{run_id}_1".split("_")[0])


class IgnoresCaseOfIds(InMemoryEventLogStorage):
    """`A` and `a` are one run."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        return super().append(run_id.casefold(), drafts, heard=heard)

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        found = super().heads([run_id.casefold() for run_id in run_ids])
        return {run_id: found[run_id.casefold()] for run_id in run_ids if run_id.casefold() in found}

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        return super().read([replace(query, run_id=query.run_id.casefold()) for query in queries])
