"""The live changes of all runs: asked for once per interval, however many viewers with whatever filters there are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live_feed import Feed
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName
from daglens.storage.records import RunChanges, RunParts, RunRecord

PARTS = RunParts.TAGS
"""What of a run's row is kept for all viewers: what any filter may ask for. A configuration may be large."""


class Change(NamedTuple):
    """The latest change of a run. `row` is the run afterwards, or later; None: it was deleted."""

    run_id: str
    row: RunRecord | None


class Changes(NamedTuple):
    """Changes that follow one another, each run once, and the position of the storage behind them.

    Attributes:
        through: The feed's own number of the last one; what came up to here was examined.
        at_end: They reached the present when they were read.
    """

    changes: Sequence[Change]
    position: str
    through: int
    at_end: bool


class RunListFeed(Feed):
    """The changes of an instance's runs: a window of the latest one of each run that changed of late.

    Changes have numbers here, 1, 2, 3, …, in the order they were read; a viewer's place is the number of the last one
    it had. A position of the storage stands between two reads, so viewers take whole reads.

    There are no hints: each event of each run would give one, and few of them change a run's row.

    Attributes:
        position: The storage's position behind the newest change.
        end: Number of the newest change.
        at_end: There was no more when it was last read.
        epoch: Grows when the storage doesn't know its own positions any more: it was replaced by another.
    """

    def __init__(self, calls: StorageCalls, settings: LiveSettings) -> None:
        super().__init__("The list of runs", settings, poll_s=settings.poll_s)
        self.position: str | None = None
        self.end = 0
        self.at_end = True
        self.epoch = 0
        self._calls = calls
        self._start = 0
        # The latest change of each run, in order of their numbers.
        self._window: dict[str, tuple[int, RunRecord | None]] = {}
        self._reads: list[tuple[int, str]] = []

    async def read(self, *, joining: bool) -> bool:
        """Read what changed since the last time, with the rows as they are then."""
        before = (self.end, self.at_end, self.epoch)
        try:
            found, rows = await self._calls.runs(lambda storage: changes(storage, self.position, self._most))
        except InvalidName:
            if self.position is None:
                raise
            self._drop(self.end)
            self.epoch += 1
            found, rows = await self._calls.runs(lambda storage: changes(storage, None, 0))
        self.position, self.at_end = found.position, not found.has_more
        for change in of_changes(found, rows):
            self.end += 1
            self._window.pop(change.run_id, None)
            self._window[change.run_id] = (self.end, change.row)
        if self.end > before[0]:
            self._reads.append((self.end, found.position))
        elif self._reads:
            # Nothing that anybody is told of lies in between.
            self._reads[-1] = (self.end, found.position)
        self._trim()
        if found.has_more:
            self.wake()
        return before != (self.end, self.at_end, self.epoch)

    @property
    def _most(self) -> int:
        return self.settings.batch_runs

    def since(self, place: int) -> Changes | None:
        """At most a batch of the changes beyond a viewer's place; None when the window doesn't reach back that far."""
        if place < self._start:
            return None
        assert self.position is not None
        found = []
        for run_id, (number, row) in reversed(self._window.items()):
            if number <= place:
                break
            found.append((number, Change(run_id, row)))
        found.reverse()
        if len(found) <= self._most:
            return Changes([change for _, change in found], self.position, self.end, self.at_end)
        # The last read that ends before what is too much; no single read holds that much.
        through, position = self._reads[bisect_left(self._reads, (found[self._most][0], "")) - 1]
        return Changes([change for number, change in found if number <= through], position, through, False)

    def _trim(self) -> None:
        """Drop what every viewer has had, and the oldest of what is above the window's bound."""
        had = min((*self.viewers.values(), self.end))
        over = len(self._window) - self.settings.window_runs
        if over > 0:
            had = max(had, next(islice(self._window.values(), over - 1, None))[0])
        self._drop(had)
        if len(self._reads) > 2 * len(self._window) + 100:
            # One run changes on and on, and a viewer has stopped: reads whose changes were all overtaken need no
            # place of their own.
            numbers = [number for number, _ in self._window.values()]
            kept = {bisect_left(self._reads, (number, "")) for number in numbers}
            self._reads = [read for index, read in enumerate(self._reads) if index in kept]

    def _drop(self, through: int) -> None:
        while self._window:
            run_id, (number, _) = next(iter(self._window.items()))
            if number > through:
                break
            del self._window[run_id]
        del self._reads[: bisect_left(self._reads, (through + 1, ""))]
        self._start = max(self._start, through)


def changes(
    storage: RunStorage, after: str | None, limit: int, parts: RunParts = PARTS
) -> tuple[RunChanges, dict[str, RunRecord]]:
    """What changed after a position, and the rows of the runs that are there still.

    Raises:
        InvalidName: `after` is no position of the storage.
    """
    found = storage.changes(after, limit)
    return found, dict(storage.get(list(found.changed), parts)) if found.changed else {}


def of_changes(found: RunChanges, rows: dict[str, RunRecord]) -> list[Change]:
    """The changes one by one. A run without a row was deleted meanwhile: that is a later change, which comes."""
    changed = [Change(run_id, rows[run_id]) for run_id in found.changed if run_id in rows]
    return [*changed, *(Change(run_id, None) for run_id in found.deleted)]
