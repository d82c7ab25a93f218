"""What stands in a run's log before the window of its feed: read once for all who come to it at about the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.records import EventFilter, EventQuery, EventRecord, EventSlice

Key = tuple[int | None, int, tuple[object, ...] | None]


class History:
    """Reads of one log, shared by its viewers. What was read is kept a while, within the bytes of a window.

    Events never change, so a page that was read stays right for as long as the log is this one.
    """

    def __init__(self, calls: StorageCalls, settings: LiveSettings) -> None:
        self._calls = calls
        self._settings = settings
        self._reading: dict[Key, asyncio.Task[EventSlice]] = {}
        self._kept: OrderedDict[Key, tuple[EventSlice, int]] = OrderedDict()
        self._kept_bytes = 0

    @property
    def tasks(self) -> set[asyncio.Task[EventSlice]]:
        """Reads under way; they end when the storage has answered."""
        return set(self._reading.values())

    async def read(self, query: EventQuery, *, keep: bool) -> EventSlice:
        """The answer to a query of this log, which may be one that others were given. `keep`: others may come.

        Raises:
            StorageUnavailable
        """
        key = (query.after_seq, query.limit, _key_of(query.filter))
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept[0]
        task = self._reading.get(key)
        if task is None:
            # A task of its own: whoever began it may go while others wait for it.
            task = asyncio.create_task(self._calls.events(lambda storage: _records(storage.read([query])[0])))
            self._reading[key] = task
            task.add_done_callback(self._noted(key, keep=keep and query.filter is None))
        return await asyncio.shield(task)

    def drop(self) -> None:
        """Forget what was read."""
        self._kept.clear()
        self._kept_bytes = 0

    def _noted(self, key: Key, *, keep: bool) -> Callable[[asyncio.Task[EventSlice]], None]:
        def note(task: asyncio.Task[EventSlice]) -> None:
            del self._reading[key]
            if not task.cancelled() and task.exception() is None and keep:
                found = task.result()
                self._keep(key, found, sum(map(size_of, found.events)))

        return note

    def _keep(self, key: Key, found: EventSlice, size: int) -> None:
        self._kept[key] = (found, size)
        self._kept_bytes += size
        while self._kept_bytes > self._settings.window_bytes:
            self._kept_bytes -= self._kept.popitem(last=False)[1][1]


def _records(found: EventSlice) -> EventSlice:
    # Each viewer goes through them, and a sequence of columns makes them anew each time.
    return found._replace(events=list(found.events))


def size_of(event: EventRecord) -> int:
    """About how many bytes an event takes, in memory as on the wire."""
    return len(event.message) + len(event.data) + 200


def _key_of(filter: EventFilter | None) -> tuple[object, ...] | None:
    if filter is None:
        return None
    types, steps = filter.event_types, filter.step_keys
    return (None if types is None else tuple(types), None if steps is None else tuple(steps), filter.min_level)
