"""The live events of a run: read once into a window, however many viewers there are."""

from __future__ import annotations

from collections.abc import Sequence

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live_feed import Feed
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


class RunFeed(Feed):
    """The log of one run: its head, and a window of its newest events that all viewers read from.

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
            sizes = [size_of(event) for event in found.events]
            self._window.extend(found.events)
            self._window_bytes += sum(sizes)
            self.end_seq = found.through_seq
            self.at_end = not found.has_more
            self._page = page_of(self.settings, sizes, self._page)
            self.trim()
        self._opened = True
        self.head = found.head

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

    def held(self, after_seq: int) -> Sequence[EventRecord] | None:
        """At most a batch of the events after `after_seq`; None when the window doesn't reach back that far."""
        index = after_seq - (self.end_seq - len(self._window))
        return None if index < 0 else self._window[index : index + self.settings.batch_events]

    def status(self, head: Head | None) -> tuple[RunStatus, bool]:
        """The run's status by a head, and whether nothing can follow it: it is final and not presumed."""
        assert self.run is not None
        move = project(self.run, head.state) if head is not None else None
        status, presumed = (self.run.status, self.run.presumed) if move is None else (move.status, move.presumed)
        return status, status.is_final and not presumed


def size_of(event: EventRecord) -> int:
    """About how many bytes an event takes, in memory as on the wire."""
    return len(event.message) + len(event.data) + 200


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
