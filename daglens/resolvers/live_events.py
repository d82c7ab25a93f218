"""The live events of a run: read once into a window, however many viewers there are."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live_batches import Look
from daglens.resolvers.live_feed import Feed
from daglens.resolvers.live_history import History, size_of
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.fold import project
from daglens.storage.records import (
    EventFilter,
    EventQuery,
    EventRecord,
    EventSlice,
    Head,
    RunParts,
    RunRecord,
    RunStatus,
)

FIRST_PAGE = 100
"""Events asked for while nothing is known of their sizes: an event may have a megabyte."""


_ENDS_KEPT = 4
"""Whoever has had all up to one of so many last reads has kept up, and goes on to the present in one batch."""


class RunFeed(Feed):
    """The log of one run: its head, and a window of its newest events that all viewers read from.

    Batches end at borders that are the same for all: where a read ended, for those who keep up; at round seqs for
    those further behind. So viewers who come back at a thousand places soon get the same batches, each made once.

    Attributes:
        run: The run's row when it was last read; None: there is none.
        head: The head when it was last read; None: the run has no log.
        end_seq: Where the window ends: seq of the newest event read, at first of the log's end.
        at_end: The window ends where the log ended when it was last read.
        gone: The run was deleted.
    """

    def __init__(self, calls: StorageCalls, run_id: str, settings: LiveSettings) -> None:
        super().__init__(f"Run {run_id!r}", settings, poll_s=None)
        self.run_id = run_id
        self.run: RunRecord | None = None
        self.head: Head | None = None
        self.end_seq = 0
        self.at_end = True
        self.gone = False
        self._calls = calls
        self._opened = False
        self._window: list[EventRecord] = []
        self._window_bytes = 0
        self._page = min(FIRST_PAGE, settings.batch_events)
        self._ends: deque[int] = deque(maxlen=_ENDS_KEPT)
        self._looks: dict[tuple[int, int], Look] = {}
        self._status: tuple[Head | None, RunRecord, tuple[RunStatus, bool]] | None = None
        self.history = History(calls, settings)

    def look(self, head: Head | None) -> None:
        """Wake up when a head that was just read tells of something new; None: the run has no log."""
        if not self._opened or self.gone:
            return
        mine = self.head
        if head is None or mine is None:
            same = head is mine
        else:
            same = (head.incarnation, head.last_seq, head.deleted) == (mine.incarnation, self.end_seq, mine.deleted)
        if not same:
            self.wake()

    async def read(self, *, joining: bool) -> bool:
        """Read what follows the window and, for those who join, the run's row."""
        before = (self.end_seq, self.at_end, self.gone)
        if joining:
            rows = await self._calls.runs(lambda storage: storage.get([self.run_id], RunParts.NONE))
            self.gone |= self.run is not None and self.run_id not in rows
            self.run = rows.get(self.run_id, self.run)
        # The first read only asks for the head: who wants what stands before it reads storage.
        query = EventQuery(self.run_id, self.end_seq or None, self._page if self._opened else 0)
        self._take((await self._calls.events(lambda storage: storage.read([query])))[0])
        if not self.at_end:
            self.wake()
        return before != (self.end_seq, self.at_end, self.gone)

    def _take(self, found: EventSlice) -> None:
        self.gone |= self.is_other_log(found.head)
        if self.gone:
            self._drop(len(self._window))
        elif not self._opened:
            self.end_seq = found.head.last_seq if found.head is not None else 0
        else:
            events = list(found.events)
            self._calls.observer.events_read(events)
            sizes = [size_of(event) for event in events]
            self._window.extend(events)
            self._window_bytes += sum(sizes)
            self.end_seq = found.through_seq
            self.at_end = not found.has_more
            self._page = page_of(self.settings, sizes, self._page)
            self.trim()
        self._opened = True
        self.head = found.head
        self._looks.clear()
        if not self._ends or self._ends[-1] != self.end_seq:
            self._ends.append(self.end_seq)

    def is_other_log(self, head: Head | None) -> bool:
        """Whether a head just read says that the log was deleted, or is another than the one followed here."""
        if head is None:
            return self.head is not None
        return head.deleted or (self.head is not None and head.incarnation != self.head.incarnation)

    def trim(self) -> None:
        """Drop what every viewer has had, and the oldest of what is above the window's bounds."""
        start_seq = self.end_seq - len(self._window)
        had = min(self.viewers.values(), default=self.end_seq) - start_seq
        drop = min(len(self._window), max(0, had, len(self._window) - self.settings.window_events))
        rest_bytes = self._window_bytes - sum(map(size_of, self._window[:drop]))
        while rest_bytes > self.settings.window_bytes:
            rest_bytes -= size_of(self._window[drop])
            drop += 1
        self._drop(drop)

    def _drop(self, count: int) -> None:
        self._window_bytes -= sum(map(size_of, self._window[:count]))
        del self._window[:count]

    def border_after(self, seq: int) -> int:
        """Where a batch that begins behind `seq` ends; at most where the window does, and `seq` at its end."""
        settings, end = self.settings, self.end_seq
        border = min(settings.border_events, settings.batch_events)
        if end - seq <= 2 * border or seq in self._ends:
            return min(end, seq + settings.batch_events)
        if seq % settings.batch_events == 0 and seq + settings.batch_events <= end:
            return seq + settings.batch_events
        return seq - seq % border + border

    def held(self, after_seq: int, filter: EventFilter | None) -> Look | None:
        """The events after `after_seq` that pass a filter, up to the next border; None when the window doesn't reach
        back that far. Viewers who stand at one place with one filter are given one and the same Look.
        """
        key = (after_seq, id(filter))
        look = self._looks.get(key)
        if look is None:
            index = after_seq - (self.end_seq - len(self._window))
            if index < 0:
                return None
            through = self.border_after(after_seq)
            held = self._window[index : index + through - after_seq]
            events = held if filter is None else [event for event in held if matches(event, filter)]
            look = Look(after_seq, filter, events, through, self.at_end and through >= self.end_seq)
            self._looks[key] = look
        return look

    def page_before(self, seq: int, page: int) -> tuple[int, int]:
        """Which events to read of what stands before the window, for a viewer behind `seq`: after the one, and up to
        the other seq. `page`: how many at most.
        """
        border = min(self.settings.border_events, self.settings.batch_events)
        through = self.border_after(seq)
        start = seq - seq % border
        return (start, through) if through - start <= page else (seq, min(through, seq + page))

    def status(self, head: Head | None) -> tuple[RunStatus, bool]:
        """The run's status by a head, and whether nothing can follow it: it is final and not presumed."""
        run, known = self.run, self._status
        assert run is not None
        if known is not None and known[0] is head and known[1] is run:
            return known[2]
        move = project(run, head.state) if head is not None else None
        status, presumed = (run.status, run.presumed) if move is None else (move.status, move.presumed)
        found = (status, status.is_final and not presumed)
        self._status = (head, run, found)
        return found

    @property
    def reading(self) -> set[asyncio.Task[Any]]:
        """See Feed."""
        return {*self.history.tasks}

    def stop(self) -> asyncio.Task[None]:
        """See Feed."""
        self.history.drop()
        return super().stop()


def page_of(settings: LiveSettings, sizes: Sequence[int], before: int) -> int:
    """How many events to ask for next so that they come to about a batch's bytes, going by those that just came.

    `before`: how many were asked for; it stays where none came.
    """
    if not sizes:
        return before
    return max(1, min(settings.batch_events, settings.batch_bytes * len(sizes) // sum(sizes)))


def matches(event: EventRecord, filter: EventFilter | None) -> bool:
    """Whether an event passes a filter."""
    return filter is None or (
        (filter.event_types is None or event.event_type in filter.event_types)
        and (filter.step_keys is None or event.step_key in filter.step_keys)
        and (filter.min_level is None or event.level >= filter.min_level)
    )
