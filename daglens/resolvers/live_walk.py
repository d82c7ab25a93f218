"""One viewer's walk through the events of a run: history, then live, each event once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from daglens.resolvers.live_batches import EventBatch, Look, RunGone
from daglens.resolvers.live_events import FIRST_PAGE, RunFeed, page_of
from daglens.resolvers.live_feed import Viewer
from daglens.resolvers.live_history import size_of
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventFilter, EventQuery, EventRecord, EventSlice, Head


class EventWalk:
    """Where one viewer stands. Holds a seq, and no events but those of the batch that it is handing over."""

    def __init__(self, feed: RunFeed, viewer: Viewer, seq: int, filter: EventFilter | None) -> None:
        """`feed` has been refreshed since the viewer came; `seq`: what it has had, checked against the feed's head."""
        self._feed = feed
        self._viewer = viewer
        self._filter = filter
        self._now = asyncio.get_running_loop().time
        self._page = min(FIRST_PAGE, feed.settings.batch_events)
        self._seq = seq
        self._head = feed.head
        self._told_caught_up: bool | None = None
        self._told_seq = seq
        self._told_at = self._now()
        self._over_at: float | None = None
        viewer.walks(self.skip)

    @property
    def _settings(self) -> LiveSettings:
        return self._feed.settings

    async def messages(self) -> AsyncGenerator[EventBatch | RunGone, None]:
        """The batches; ends when the run has (contract: runEvents), or with RunGone.

        Raises:
            ServerStopping
        """
        while True:
            look = await self._look()
            if look is None:
                yield RunGone(self._feed.run_id)
                return
            at_end, batches = look.at_end, list(self._batches(look))
            # While it waits for its viewer it holds what it has yet to hand over, and nothing else.
            del look
            while batches:
                if self._is_due(batches[0]):
                    yield self._tell(batches.pop(0))
                else:
                    del batches[0]
            if at_end and not await self._more():
                if self._told_seq != self._seq:
                    yield self._tell(self._batch((), self._seq, at_end=True))
                return
            if not at_end and self._seq >= self._feed.end_seq:
                # The feed knows of more than it has read.
                await self._feed.changed(None, lambda: self._has_news() or self._feed.at_end)

    async def _look(self) -> Look | None:
        """The next events; None when the run is gone."""
        feed = self._feed
        if feed.gone:
            return None
        look = None if self._is_ahead() else feed.held(self._seq, self._filter)
        if look is None:
            return await self._look_in_storage()
        self._note_head(feed.head)
        return self._at(look)

    def _is_ahead(self) -> bool:
        """Whether this viewer stands behind the end of what its feed has read: by a cursor that another server gave, or
        since it reads storage by a filter of its own; or has so read that there is more.
        """
        feed, seq = self._feed, self._seq
        if seq != feed.end_seq:
            return seq > feed.end_seq
        return self._filter is not None and feed.at_end and self._head is not None and self._head.last_seq > seq

    async def _look_in_storage(self) -> Look | None:
        """What stands before the feed's window, or behind it."""
        feed, seq = self._feed, self._seq
        if self._filter is not None or seq > feed.end_seq:
            found = await self._read(seq, self._page)
            if found is None:
                return None
            if found.through_seq > feed.end_seq or (found.has_more and found.through_seq == feed.end_seq):
                feed.wake()
            return self._at(Look(seq, self._filter, found.events, found.through_seq, not found.has_more))
        start, through = feed.page_before(seq, self._page)
        found = await self._read(start, through - start)
        if found is not None and found.through_seq <= seq:
            # A storage may give fewer events than were asked for.
            found = await self._read(seq, through - seq)
        if found is None:
            return None
        events = [event for event in found.events if event.seq > seq]
        through = max(seq, found.through_seq)
        return self._at(Look(seq, None, events, through, feed.at_end and through >= feed.end_seq))

    async def _read(self, after_seq: int, limit: int) -> EventSlice | None:
        feed = self._feed
        query = EventQuery(feed.run_id, after_seq or None, limit, self._filter)
        pause_s = self._settings.poll_s
        while True:
            try:
                found = await feed.history.read(query, keep=len(feed.viewers) > 1)
                break
            except StorageUnavailable:
                # The feed, which reads the same storage, says so in the server's log.
                feed.wake()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._settings.retry_most_s)
        if feed.gone or feed.is_other_log(found.head):
            feed.wake()
            return None
        self._note_head(found.head)
        self._page = page_of(self._settings, [size_of(event) for event in found.events], self._page)
        return found

    def _note_head(self, head: Head | None) -> None:
        # Who has just read storage may be ahead of the feed; what was read for others may be behind it.
        if head is not None and (self._head is None or head.last_seq >= self._head.last_seq):
            self._head = head

    def _at(self, look: Look) -> Look:
        if look.through_seq != self._seq:
            self._over_at = None
        self._seq = look.through_seq
        self._feed.viewers[self._viewer] = self._seq
        return look

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
        return self._has_news() or not feed.at_end

    def _has_news(self) -> bool:
        return self._feed.gone or self._feed.end_seq > self._seq

    def _batches(self, look: Look) -> Sequence[EventBatch]:
        """What a look comes to. Whoever stands where others do gets the same batches as they."""
        common = self._told_seq == look.after_seq and self._head is self._feed.head
        if common and look.batches is not None:
            return look.batches
        *first, last = look.pieces(self._told_seq, self._settings)
        batches = [self._batch(events, through, at_end=False) for events, through in first]
        batches.append(self._batch(*last, at_end=look.at_end))
        if common:
            look.batches = batches
        return batches

    def skip(self, batch: EventBatch) -> None:
        """Go on behind a batch that begins where this viewer stands, and that it was given already."""
        if batch.through_seq != self._seq:
            self._over_at = None
        self._seq = self._feed.viewers[self._viewer] = batch.through_seq
        self._tell(batch)

    def _is_due(self, batch: EventBatch) -> bool:
        told_caught_up = self._told_caught_up
        if told_caught_up is None or batch.events or (batch.caught_up and not told_caught_up):
            return True
        moved = batch.through_seq - self._told_seq
        still_s = self._now() - self._told_at
        return moved >= self._settings.still_events or (moved > 0 and still_s >= self._settings.still_s)

    def _batch(self, events: Sequence[EventRecord], through: int, *, at_end: bool) -> EventBatch:
        incarnation = self._head.incarnation if self._head is not None else None
        return EventBatch(incarnation, events, through, at_end, self._feed.status(self._head)[0])

    def _tell(self, batch: EventBatch) -> EventBatch:
        self._told_caught_up, self._told_seq, self._told_at = batch.caught_up, batch.through_seq, self._now()
        return batch
