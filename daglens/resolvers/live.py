"""The live hub of a server process: each run and each log is watched once, however many viewers it has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any, TypeVar

from daglens.resolvers import cursors
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.compute_logs import Chunk
from daglens.resolvers.cursors import ORIGIN
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.live_batches import EventBatch, RunGone
from daglens.resolvers.live_events import RunFeed
from daglens.resolvers.live_feed import Feed, ServerStopping, Viewer
from daglens.resolvers.live_logs import LogFeed, LogWalk
from daglens.resolvers.live_runs import RunListFeed
from daglens.resolvers.live_runs_walk import RunListBatch, RunListRequest, RunListWalk
from daglens.resolvers.live_settings import LiveSettings
from daglens.resolvers.live_walk import EventWalk
from daglens.resolvers.names import is_name
from daglens.storage.contract import Watch
from daglens.storage.errors import DaglensError, LogUnavailable, RunNotFound
from daglens.storage.records import MAX_SEQ, ComputeIO, EventFilter, Head, LogKey, LogUnavailableReason

__all__ = [
    "EventBatch",
    "LiveHub",
    "LiveSettings",
    "RunGone",
    "RunListBatch",
    "RunListRequest",
    "ServerStopping",
    "Viewer",
]

log = logging.getLogger("daglens.live")

K = TypeVar("K", bound=Hashable)
F = TypeVar("F", bound=Feed)


class LiveHub:
    """Live feeds of one instance, on one event loop.

    Hints of the storage's watch make it quick; the poll of all watched runs by one call makes it correct. A viewer is
    a generator that holds a cursor: when it is closed, however abruptly, nothing of it stays.
    """

    def __init__(self, calls: StorageCalls, settings: LiveSettings | None = None) -> None:
        """`calls` are those of the whole server. To be made on the event loop it serves."""
        self.settings = settings or LiveSettings()
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._runs: dict[str, RunFeed] = {}
        self._logs: dict[tuple[LogKey, ComputeIO], LogFeed] = {}
        self._run_lists: dict[None, RunListFeed] = {}
        self._ending: set[asyncio.Task[Any]] = set()
        self._closing = asyncio.Event()
        self._draining = False
        self._tending: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._hints: set[str | None] = set()
        self._hints_lock = threading.Lock()

    @property
    def viewers(self) -> int:
        """How many feeds are being read, waits of long polls included."""
        return sum(not viewer.leads for feed in self._feeds() for viewer in feed.viewers)

    @property
    def feeds(self) -> int:
        """How many runs and logs are watched, and one more for the list of runs."""
        return len(self._feeds())

    @property
    def watched(self) -> dict[str, int]:
        """How many of each kind are watched."""
        return {"runs": len(self._runs), "logs": len(self._logs), "run_lists": len(self._run_lists)}

    @property
    def most_behind(self) -> int:
        """How many events of those read the viewer furthest behind has yet to be given."""
        places = ((feed.end_seq, min(feed.viewers.values(), default=feed.end_seq)) for feed in self._runs.values())
        return max((max(0, end - place) for end, place in places), default=0)

    def _feeds(self) -> list[RunFeed | LogFeed | RunListFeed]:
        return [*self._runs.values(), *self._logs.values(), *self._run_lists.values()]

    # ------------------------------------------------------------ what viewers ask for

    async def run_events(
        self,
        run_id: str,
        after: str | None = None,
        filter: EventFilter | None = None,
        viewer: Viewer | None = None,
    ) -> AsyncGenerator[EventBatch | RunGone, None]:
        """The events of a run after a cursor, as the contract says of `runEvents`; close the generator when done.

        `viewer` may be moved from outside, while it has not asked for the next batch.

        Raises:
            RunNotFound, InvalidCursor
            StorageUnavailable: While the viewer joins; later it waits until the storage answers.
            ServerStopping
        """
        place = ORIGIN if after is None else cursors.parse_event_cursor(after)
        viewer = viewer or Viewer()
        async with self._watching(run_id, viewer, place.seq) as feed:
            if feed.gone:
                yield RunGone(run_id)
                return
            cursors.check_place(place, feed.head)
            walk = EventWalk(feed, viewer, place.seq, filter)
            async with contextlib.aclosing(walk.messages()) as messages:
                async for message in messages:
                    handed = [message]
                    del message  # a viewer that doesn't ask for more holds none of it here
                    yield handed.pop()

    async def wait_for_events(self, run_id: str, after_seq: int, timeout_s: float) -> bool:
        """Wait until the run's log has an event beyond `after_seq` or was deleted; False when the time is up, or when
        the server is stopping.

        Raises:
            RunNotFound, StorageUnavailable
        """
        async with self._watching(run_id, Viewer(), after_seq) as feed:

            def has_news() -> bool:
                return self._draining or feed.gone or feed.end_seq > after_seq

            return await feed.changed(timeout_s, has_news) and not self._draining

    async def compute_log(
        self, run_id: str, step_key: str, io: ComputeIO, attempt: int | None = None, after: str | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """A step's stdout or stderr after a cursor, as the contract says of `computeLog`; close the generator when
        done.

        Raises:
            RunNotFound, InvalidCursor
            LogUnavailable: It can't be read; NOT_CAPTURED only when it is certain that it won't come.
            StorageUnavailable: While the viewer joins; later it waits until the storage answers.
            ServerStopping
        """
        if not is_name(run_id):
            raise RunNotFound(run_id)
        if not is_name(step_key) or (attempt is not None and not 1 <= attempt <= MAX_SEQ):
            raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED, "No step can have this key or attempt.")
        place = None if after is None else cursors.parse_log_cursor(after, run_id, step_key, io)
        if place is not None and attempt not in (None, place.attempt):
            raise InvalidCursor(f"It belongs to attempt {place.attempt}, not to attempt {attempt}.")
        if place is not None:
            attempt = place.attempt
        elif attempt is None:
            attempt = await self._latest_attempt(run_id, step_key)
        key, offset = LogKey(run_id, step_key, attempt), place.offset if place is not None else 0
        viewer = Viewer()
        async with (
            self._joined(self._logs, (key, io), self._new_log_feed, viewer, offset) as feed,
            contextlib.aclosing(LogWalk(self._calls, feed, viewer, offset).chunks()) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def runs(self, request: RunListRequest) -> AsyncGenerator[RunListBatch, None]:
        """The live list of runs, as the contract says of `runs`, without an end; close the generator when done.

        Raises:
            InvalidCursor: `after` is no position of the storage; or, later, the storage was replaced by another.
            StorageUnavailable: While the viewer joins; later it waits until the storage answers.
            ServerStopping
        """
        viewer = Viewer()
        async with (
            self._joined(self._run_lists, None, self._new_run_list_feed, viewer, 0) as feed,
            contextlib.aclosing(RunListWalk(self._calls, feed, viewer, request).batches()) as batches,
        ):
            async for batch in batches:
                yield batch

    def _new_run_list_feed(self, _: None) -> RunListFeed:
        return RunListFeed(self._calls, self.settings)

    def _new_log_feed(self, stream: tuple[LogKey, ComputeIO]) -> LogFeed:
        return LogFeed(self._calls, *stream, self.settings)

    async def _latest_attempt(self, run_id: str, step_key: str) -> int:
        files = (await self._calls.compute_logs(lambda logs: logs.list([run_id]))).get(run_id, ())
        return max((file.key.attempt for file in files if file.key.step_key == step_key), default=1)

    # ------------------------------------------------------------ ends

    def drain(self) -> None:
        """The server is about to stop: let those who wait in a long poll have their answer now."""
        self._draining = True
        for feed in self._feeds():
            feed.tell()

    async def close(self) -> None:
        """End all feeds, their viewers with ServerStopping. Nothing can be watched afterwards."""
        self._closing.set()
        self.drain()
        for feed in self._feeds():
            self._end(feed)
        self._runs.clear()
        self._logs.clear()
        self._run_lists.clear()
        self._idle.set()
        if tasks := self._ending | ({self._tending} if self._tending is not None else set()):
            await asyncio.wait(tasks)

    def _end(self, feed: Feed) -> None:
        task = feed.stop()
        for ending in (task, *feed.reading):
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    # ------------------------------------------------------------ runs

    @asynccontextmanager
    async def _watching(self, run_id: str, viewer: Viewer, seq: int) -> AsyncIterator[RunFeed]:
        """A run's feed, read afresh for this viewer, who has had the events up to `seq`."""
        if not is_name(run_id):
            raise RunNotFound(run_id)
        async with self._joined(self._runs, run_id, self._new_run_feed, viewer, seq) as feed:
            if feed.run is None:
                raise RunNotFound(run_id)
            yield feed

    def _new_run_feed(self, run_id: str) -> RunFeed:
        self._idle.clear()
        if self._tending is None:
            self._tending = self._loop.create_task(
                # Not on behalf of the first viewer, whose request id and span are others'.
                self._watch_and_poll(),
                name="daglens-live hub",
                context=Context(),
            )
        return RunFeed(self._calls, run_id, self.settings)

    @asynccontextmanager
    async def _joined(
        self, feeds: dict[K, F], key: K, make: Callable[[K], F], viewer: Viewer, place: int
    ) -> AsyncIterator[F]:
        """The feed of a run or a log, read afresh for this viewer, who has had what stands up to `place`."""
        if self._closing.is_set():
            raise ServerStopping
        feed = feeds.get(key)
        if feed is None:
            feed = feeds[key] = make(key)
        feed.viewers[viewer] = place
        try:
            await feed.refresh()
            yield feed
        finally:
            del feed.viewers[viewer]
            if not feed.viewers and feeds.get(key) is feed:
                del feeds[key]
                self._end(feed)
                if not self._runs:
                    self._idle.set()

    async def _watch_and_poll(self) -> None:
        """Lives while runs are watched, and a little longer, so that a viewer who reconnects finds the watch open."""
        # Beside the polls, which mustn't wait for it: it may have to connect first.
        opening = self._loop.create_task(self._open_watch())
        while self._runs:
            await _set_within(self._idle, self.settings.poll_s)
            await self._poll()
            if not self._runs:
                await _set_within(self._closing, self.settings.watch_idle_s)
        # Nothing was awaited since the last look at `_runs`: a run that comes from here on starts a task of its own.
        task, self._tending = self._tending, None
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        if watch := await opening:
            await asyncio.to_thread(watch.stop)

    async def _open_watch(self) -> Watch | None:
        try:
            return await self._calls.events(lambda storage: storage.watch(self._on_news))
        except DaglensError as error:
            log.warning("No hints of new events, only a look every %s s: %s", self.settings.poll_s, error)
            return None

    async def _poll(self) -> None:
        feeds = dict(self._runs)
        if not feeds:
            return
        try:
            heads: Mapping[str, Head] = await self._calls.events(lambda storage: storage.heads(list(feeds)))
        except DaglensError:
            # Whichever run is to blame: each feed reads for itself, says what is wrong, and keeps its own pace.
            for feed in feeds.values():
                feed.wake()
            return
        for run_id, feed in feeds.items():
            feed.trim()
            feed.look(heads.get(run_id))

    def _on_news(self, run_id: str | None) -> None:
        """Called by the storage, from any thread."""
        if run_id is not None and run_id not in self._runs:
            return
        with self._hints_lock:
            scheduled = bool(self._hints)
            self._hints.add(run_id)
        if not scheduled:
            # The loop is closed when the server has gone; then nobody wants to know.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._take_hints)

    def _take_hints(self) -> None:
        with self._hints_lock:
            hints, self._hints = self._hints, set()
        for feed in self._runs.values() if None in hints else filter(None, map(self._runs.get, filter(None, hints))):
            feed.wake()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
