"""Which finished runs have been kept long enough, and their deletion, bit by bit. No clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from daglens import upkeep
from daglens.instance import Instance
from daglens.storage.contract import RunStorage
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import FINAL_STATUSES, RunFilter, RunParts, RunPosition, RunRecord, RunStatus
from daglens.upkeep import DeletedRun

PAGE_RUNS = 500
_MAX_LIMIT = 1000
_MAX_FAILURES = 10
_JUMP_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Which runs go.

    Attributes:
        ended_before_us: Finished runs that ended before this time, by the timestamp of their last status; one without
            such a time, before it changed last. A recorder's heartbeat, which has the storage's own time, tells that
            a run had not ended before it, whatever the recorder's clock says.
        statuses: Only runs with one of these; others than final ones match nothing.
        keep_last: The newest so many runs of the instance stay, whatever became of them.
    """

    ended_before_us: int
    statuses: tuple[RunStatus, ...] = tuple(sorted(FINAL_STATUSES))
    keep_last: int = 0


class CautiousClock:
    """A storage's time, for what can't be undone: one that jumps forward by 10 minutes or more is believed later.

    A machine that is given a date of next year for a moment would delete the whole history.
    """

    def __init__(self, now_us: Callable[[], int], steady_s: Callable[[], float], patience_s: float) -> None:
        """`steady_s` gives seconds since any moment; a jump counts once it has lasted for `patience_s` of them."""
        self._now_us = now_us
        self._steady_s = steady_s
        self._patience_us = round(patience_s * 1_000_000)
        self._offset_us: int | None = None
        self._ahead_since_us: int | None = None

    def __call__(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        now_us, steady_us = self._now_us(), round(self._steady_s() * 1_000_000)
        if self._offset_us is None or now_us - steady_us < self._offset_us + _JUMP_US:
            self._ahead_since_us = None
        else:
            if self._ahead_since_us is None:
                self._ahead_since_us = steady_us
            if steady_us - self._ahead_since_us < self._patience_us:
                return steady_us + self._offset_us
            self._ahead_since_us = None
        self._offset_us = now_us - steady_us
        return now_us


def expired(runs: RunStorage, rule: Rule) -> Iterator[Sequence[RunRecord]]:
    """The runs that the rule lets go, oldest first (by creation), without tags and configuration.

    Each item is what one page of at most 500 runs had of them: maybe none. Deleting what came, or nothing, between two
    items changes nothing about those that follow; so does a process that begins anew.
    """
    statuses = tuple(status for status in rule.statuses if status.is_final)
    kept_from = _nth_newest(runs, rule.keep_last) if rule.keep_last else None
    if not statuses or (rule.keep_last and kept_from is None):
        return
    after: RunPosition | None = None
    while True:
        found = runs.page(
            RunFilter(statuses=statuses), newest_first=False, after=after, limit=PAGE_RUNS, parts=RunParts.NONE
        )
        older = [run for run in found.runs if kept_from is None or _position(run) < kept_from]
        yield [run for run in older if _ended_at_us(run) < rule.ended_before_us]
        if not found.has_more or not found.runs or len(older) < len(found.runs):
            return
        after = _position(found.runs[-1])


def _nth_newest(runs: RunStorage, n: int) -> RunPosition | None:
    """Where the n-th newest run stands; None when there are fewer."""
    after: RunPosition | None = None
    while True:
        found = runs.page(RunFilter(), after=after, limit=min(n, _MAX_LIMIT), parts=RunParts.NONE)
        n -= len(found.runs)
        if found.runs:
            after = _position(found.runs[-1])
        if n <= 0:
            return after
        if not found.has_more or not found.runs:
            return None


def _position(run: RunRecord) -> RunPosition:
    return RunPosition(run.created_at_us, run.run_id)


def _ended_at_us(run: RunRecord) -> int:
    ended_at_us = run.updated_at_us if run.ended_at_us is None else run.ended_at_us
    # A recorder whose clock stands at 1970 would have its runs deleted as they end.
    return max(ended_at_us, run.heartbeat_at_us or ended_at_us)


@dataclass(frozen=True, slots=True)
class Undeleted:
    """A run that could not be deleted, and why. What of it is gone stays gone; the next try carries on."""

    run_id: str
    error: Exception


def delete_runs(instance: Instance, runs: Iterable[RunRecord]) -> Iterator[DeletedRun | Undeleted]:
    """Delete runs one by one, each in bounded batches (`upkeep.delete_run`), and say of each what went.

    A run that can't be deleted doesn't keep the others. Those that somebody else deleted meanwhile are left out.

    Raises:
        StorageUnavailable: Ten failed, one behind the other: it seems to be the storage, not the runs.
    """
    failures = 0
    for run in runs:
        try:
            deleted = upkeep.delete_run(instance, run.run_id)
        except Exception as error:
            failures += 1
            yield Undeleted(run.run_id, error)
            if failures == _MAX_FAILURES:
                raise StorageUnavailable(f"No run can be deleted: {error}") from error
            continue
        failures = 0
        if deleted.was_there:
            yield deleted
