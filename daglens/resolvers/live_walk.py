"""One viewer's walk through the events of a run: history, then live, each event once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live_events import FIRST_PAGE, RunFeed, matches, page_of, size_of
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventFilter, EventQuery, EventRecord, RunStatus


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A batch of a run's live events.

    Attributes:
        incarnation: Of the run's log, for cursors; None when there is no log yet.
        events: Those that pass the filter, in order of seq; may be empty.
        through_seq: Every event up to here was examined; the batch's cursor.
        caught_up: The batch reached the end of the log, as it was when it was read.
        run_status: When the batch was read.
    """

    incarnation: str | None
    events: Sequence[EventRecord]
    through_seq: int
    caught_up: bool
    run_status: RunStatus


@dataclass(frozen=True, slots=True)
class RunGone:
    """The run was deleted: the last message of its feed."""

    run_id: str


class _Part(NamedTuple):
    """What one look gave: the events that pass the filter, up to where it looked, and whether that is the end."""

    events: Sequence[EventRecord]
    through_seq: int
    at_end: bool


class EventWalk:
    """Where one viewer stands. Holds a seq, and no events but those of the batch that it is handing over."""

    def __init__(
        self, calls: StorageCalls, feed: RunFeed, viewer: object, seq: int, filter: EventFilter | None
    ) -> None:
        """`feed` has been refreshed since the viewer came; `seq`: what it has had, checked against the feed's head."""
        self._calls = calls
        self._feed = feed
        self._viewer = viewer
        self._filter = filter
        self._now = asyncio.get_running_loop().time
        self._page = min(FIRST_PAGE, feed.settings.batch_events)
        self._seq = seq
        self._head = feed.head
        self._told: EventBatch | None = None
        self._told_seq = seq
        self._told_at = self._now()
        self._over_at: float | None = None

    @property
    def _settings(self) -> LiveSettings:
        return self._feed.settings

    async def messages(self) -> AsyncGenerator[EventBatch | RunGone, None]:
        """The batches; ends when the run has (contract: runEvents), or with RunGone.

        Raises:
            ServerStopping
        """
        while True:
            part = await self._look()
            if part is None:
                yield RunGone(self._feed.run_id)
                return
            for batch in self._batches(part):
                yield self._tell(batch)
            if part.at_end and not await self._more():
                if self._told_seq != self._seq:
                    yield self._tell(self._batch((), self._seq, at_end=True))
                return
            if not part.at_end and self._seq >= self._feed.end_seq:
                # The feed knows of more than it has read.
                await self._feed.changed(None, lambda: self._has_news() or self._feed.at_end)

    async def _look(self) -> _Part | None:
        """The next events; None when the run is gone."""
        feed = self._feed
        if feed.gone:
            return None
        held = feed.held(self._seq)
        if held is None:
            return await self._read()
        # Who has just read storage may be ahead of the feed; its head is then the newer one.
        if feed.head is not None and (self._head is None or feed.head.last_seq >= self._head.last_seq):
            self._head = feed.head
        through = self._seq + len(held)
        events = [event for event in held if matches(event, self._filter)]
        return self._at(_Part(events, through, feed.at_end and through >= feed.end_seq))

    async def _read(self) -> _Part | None:
        query = EventQuery(self._feed.run_id, self._seq or None, self._page, self._filter)
        pause_s = self._settings.poll_s
        while True:
            try:
                found = (await self._calls.events(lambda storage: storage.read([query])))[0]
                break
            except StorageUnavailable:
                # The feed, which reads the same storage, says so in the server's log.
                self._feed.wake()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._settings.retry_most_s)
        if self._feed.gone or self._feed.is_other_log(found.head):
            self._feed.wake()
            return None
        self._head = found.head
        self._page = page_of(self._settings, [size_of(event) for event in found.events], self._page)
        return self._at(_Part(found.events, found.through_seq, not found.has_more))

    def _at(self, part: _Part) -> _Part:
        if part.through_seq != self._seq:
            self._over_at = None
        self._seq = part.through_seq
        self._feed.viewers[self._viewer] = self._seq
        return part

    async def _more(self) -> bool:
        """Wait at the log's end; False when the run is over and has brought nothing more."""
        feed, settings = self._feed, self._settings
        waits = []
        over = feed.status(self._head)[1]
        if not over:
            self._over_at = None
        elif self._over_at is None:
            self._over_at = self._now()
        if self._over_at is not None:
            waits.append(self._over_at + settings.linger_s - self._now())
        if self._told_seq != self._seq:
            waits.append(self._told_at + settings.still_s - self._now())
        if await feed.changed(min(waits, default=None), self._has_news):
            return True
        if self._over_at is None or self._now() < self._over_at + settings.linger_s:
            return True
        try:
            # Silence proves nothing where hints were lost and polls failed: look once more.
            await feed.refresh()
        except StorageUnavailable:
            return True
        return self._has_news()

    def _has_news(self) -> bool:
        return self._feed.gone or self._feed.end_seq > self._seq

    def _batches(self, part: _Part) -> Iterator[EventBatch]:
        *first, last = self._pieces(part)
        for events, through in first:
            yield self._batch(events, through, at_end=False)
        batch = self._batch(*last, at_end=part.at_end)
        told = self._told
        moved = batch.through_seq - self._told_seq
        still_s = self._now() - self._told_at
        due = moved >= self._settings.still_events or (moved > 0 and still_s >= self._settings.still_s)
        if told is None or batch.events or due or (batch.caught_up and not told.caught_up):
            yield batch

    def _pieces(self, part: _Part) -> list[tuple[Sequence[EventRecord], int]]:
        """Cut what a look gave into batches, each with the seq it ends at, within the bounds of bytes and of seqs."""
        pieces: list[tuple[Sequence[EventRecord], int]] = []
        events: list[EventRecord] = []
        start, total_bytes = self._told_seq, 0

        def cut(through: int) -> None:
            nonlocal events, start, total_bytes
            pieces.append((events, through))
            events, start, total_bytes = [], through, 0

        for event in part.events:
            while event.seq - start > self._settings.still_events:
                cut(start + self._settings.still_events)
            size = size_of(event)
            if events and total_bytes + size > self._settings.batch_bytes:
                cut(events[-1].seq)
            events.append(event)
            total_bytes += size
        while part.through_seq - start > self._settings.still_events:
            cut(start + self._settings.still_events)
        cut(part.through_seq)
        return pieces

    def _batch(self, events: Sequence[EventRecord], through: int, *, at_end: bool) -> EventBatch:
        incarnation = self._head.incarnation if self._head is not None else None
        return EventBatch(incarnation, events, through, at_end, self._feed.status(self._head)[0])

    def _tell(self, batch: EventBatch) -> EventBatch:
        self._told, self._told_seq, self._told_at = batch, batch.through_seq, self._now()
        return batch
