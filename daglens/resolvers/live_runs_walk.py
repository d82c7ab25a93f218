"""One viewer's walk through the changes of runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.live_feed import Viewer
from daglens.resolvers.live_runs import PARTS, Change, Changes, RunListFeed, changes, of_changes
from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName, StorageUnavailable
from daglens.storage.records import RunFilter, RunParts, RunRecord
from daglens.storage.run_rules import matches

T = TypeVar("T")


class RunListRequest(NamedTuple):
    """What a viewer of the run list asks for.

    Attributes:
        filter: Checked already.
        limit: How many runs the first batch holds at most, unless `after` is given; 0 … 1,000.
        after: A position of the run storage.
        parts: What of a run's row is to be read.
    """

    filter: RunFilter
    limit: int = 25
    after: str | None = None
    parts: RunParts = PARTS


@dataclass(frozen=True, slots=True)
class RunListBatch:
    """A batch of the live list of runs; each run is in it once.

    Attributes:
        changed: Runs that match, as they are now: the newest first in the list that a feed begins with, then in order
            of change.
        unmatched, deleted: Ids of runs that changed and are now outside the filter, and of runs deleted.
        position: The run storage's, behind this batch.
        caught_up: The batch reached the present, as it was when it was read.
    """

    changed: Sequence[RunRecord]
    unmatched: Sequence[str]
    deleted: Sequence[str]
    position: str
    caught_up: bool


class RunListWalk:
    """Where one viewer stands. Holds a position, and no runs but those of the batch that it is handing over."""

    def __init__(self, calls: StorageCalls, feed: RunListFeed, viewer: Viewer, request: RunListRequest) -> None:
        """`feed` has been refreshed since the viewer came."""
        assert feed.position is not None
        self._calls = calls
        self._feed = feed
        self._viewer = viewer
        self._filter = request.filter
        self._limit = request.limit
        self._listing = request.after is None
        self._parts = request.parts
        self._epoch = feed.epoch
        self._position = feed.position if request.after is None else request.after
        self._place = feed.end
        self._behind = not self._listing
        # Rows of the feed up to here may be older than those that this viewer has read itself.
        self._fresh_from = 0

    async def batches(self) -> AsyncGenerator[RunListBatch, None]:
        """The batches; the first comes at once, even empty.

        Raises:
            InvalidCursor: The position is none of this storage, or of one that was replaced since.
            StorageUnavailable: For the first batch; later it waits until the storage answers.
            ServerStopping
        """
        feed = self._feed
        told = await (self._list() if self._listing else self._read(patient=False))
        yield told
        while True:
            if not self._behind:
                caught_up = told.caught_up
                await feed.changed(None, lambda known=caught_up: self._has_news(known))  # type: ignore[misc]
            if feed.epoch != self._epoch:
                raise InvalidCursor("The storage was replaced by another: begin anew, without it.")
            held = None if self._behind else feed.since(self._place)
            told = await (self._read(patient=True) if held is None else self._take(held))
            yield told

    def _has_news(self, caught_up: bool) -> bool:
        feed = self._feed
        return feed.epoch != self._epoch or feed.end > self._place or (feed.at_end and not caught_up)

    async def _list(self) -> RunListBatch:
        """The newest runs that match. What changes after the feed's position comes later, also when it is in here."""
        at_end = self._feed.at_end
        self._stand(self._place)
        found = await self._calls.runs(lambda storage: storage.page(self._filter, limit=self._limit, parts=self._parts))
        self._fresh_from = self._feed.end
        return RunListBatch(found.runs, (), (), self._position, at_end)

    async def _read(self, *, patient: bool) -> RunListBatch:
        """What the storage has beyond this viewer's position, when that lies before the feed's window."""
        place, position, parts = self._feed.end, self._position, self._parts | PARTS
        self._stand(place)
        most = self._feed.settings.batch_runs
        try:
            found, rows = await self._ask(lambda storage: changes(storage, position, most, parts), patient)
        except InvalidName:
            raise InvalidCursor(
                "It is no place in the changes of this instance's runs, or so old that deletions since are forgotten: "
                "begin without it."
            ) from None
        self._behind = found.has_more
        self._fresh_from = self._feed.end
        return self._batch(of_changes(found, rows), found.position, caught_up=not found.has_more)

    async def _take(self, held: Changes) -> RunListBatch:
        """What the feed holds beyond this viewer's place."""
        stale = self._place < self._fresh_from
        self._stand(held.through)
        taken = held.changes
        ids = [change.run_id for change in taken if change.row is not None]
        if ids and (stale or self._parts | PARTS != PARTS):
            rows = await self._ask(lambda storage: storage.get(ids, self._parts | PARTS), patient=True)
            self._fresh_from = max(self._fresh_from, self._feed.end)
            taken = [
                change if change.row is None else Change(change.run_id, rows[change.run_id])
                for change in taken
                if change.row is None or change.run_id in rows
            ]
        return self._batch(taken, held.position, caught_up=held.at_end)

    def _stand(self, place: int) -> None:
        self._place = self._feed.viewers[self._viewer] = place

    def _batch(self, found: Sequence[Change], position: str, *, caught_up: bool) -> RunListBatch:
        self._position = position
        rows = [change.row for change in found if change.row is not None]
        return RunListBatch(
            [row for row in rows if matches(row, self._filter)],
            [row.run_id for row in rows if not matches(row, self._filter)],
            [change.run_id for change in found if change.row is None],
            position,
            caught_up,
        )

    async def _ask(self, call: Callable[[RunStorage], T], patient: bool) -> T:
        settings = self._feed.settings
        pause_s = settings.poll_s
        while True:
            try:
                return await self._calls.runs(call)
            except StorageUnavailable:
                # The feed, which reads the same storage, says so in the server's log.
                if not patient:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, settings.retry_most_s)
