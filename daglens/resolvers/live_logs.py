"""Compute logs while they grow: one poller per stream, however many viewers it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import NamedTuple

from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.compute_logs import Chunk, chunk_of
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.live_feed import Feed, Viewer
from daglens.resolvers.live_settings import LiveSettings
from daglens.resolvers.missing_logs import WAITED_FOR, explained, in_shared_log
from daglens.storage.contract import EventLogStorage
from daglens.storage.errors import LogUnavailable, RunNotFound, StorageUnavailable
from daglens.storage.fold import project
from daglens.storage.records import (
    PROCESS_STEP_KEY,
    ComputeIO,
    Head,
    LogBytes,
    LogKey,
    LogUnavailableReason,
    RunParts,
    StepState,
)

_PIECES_KEPT = 2
"""Those who follow a log are given the same pieces at about the same time."""


class Piece(NamedTuple):
    """Some bytes of a log as text.

    Attributes:
        read_to: Where the bytes end.
        closed: Nothing will follow them.
        begun: Those behind the chunk: a character that isn't whole yet.
    """

    chunk: Chunk
    read_to: int
    closed: bool
    begun: bytes


class LogFeed(Feed):
    """One stream of one attempt of a step: its end, and a window of its newest bytes.

    Attributes:
        size_bytes: Of the whole log when it was last read.
        end: Where the window ends; at most `size_bytes`.
        complete: The stream was closed, at `size_bytes`.
        unavailable: Why there is nothing to read; None once there is.
        failed: There is no use in waiting: it is forbidden, expired, on another machine.
        run_gone: The run is not there, or no longer.
        over_at: When it was first seen that nobody writes any more: the run is final, or a later attempt began.
        moved_at: When it last grew, or was opened. Both in seconds of the event loop's clock.
    """

    def __init__(self, calls: StorageCalls, key: LogKey, io: ComputeIO, settings: LiveSettings) -> None:
        least_s = calls.least_log_poll_s
        super().__init__(
            f"Run {key.run_id!r}, {io} of {key.step_key!r}", settings, poll_s=max(settings.poll_s, least_s)
        )
        self.key = key
        self.io = io
        self.size_bytes = 0
        self.end = 0
        self.complete = False
        self.unavailable: LogUnavailable | None = None
        self.failed = False
        self.run_gone = False
        self.over_at: float | None = None
        self._calls = calls
        self._now = asyncio.get_running_loop().time
        self.moved_at = self._now()
        self._opened = False
        self._window = bytearray()
        self._pieces: dict[tuple[int, int, int, bool], Piece] = {}
        self._looked_at: float | None = None
        self._later_log = False
        # Where a look is paid for, one more of them for each few.
        self._look_later_every_s = 5 * least_s
        self._looked_later_at: float | None = None
        self._explained: LogUnavailable | None = None
        self._gone_since: float | None = None

    async def read(self, *, joining: bool) -> bool:
        """Read what follows the window; now and then look whether anybody can still write."""
        before = (self.end, self.complete, self.failed, self.run_gone, self.over_at is None)
        if joining or self._looked_at is None or self._now() - self._looked_at >= self.settings.linger_s / 5:
            self._looked_at = self._now()
            self._explained = None
            await self._look_whether_over()
        if not self.complete or self.end < self.size_bytes:
            await self._read_on()
        return before != (self.end, self.complete, self.failed, self.run_gone, self.over_at is None)

    async def _read_on(self) -> None:
        start, most = self.end, self.settings.log_window_bytes if self._opened else 0
        try:
            found = await self._calls.compute_logs(lambda logs: logs.read(self.key, self.io, start, most))
        except LogUnavailable as error:
            await self._explain(error)
            # Of a log that comes later, the window holds all from its beginning.
            self._opened = True
            return
        self.unavailable = self._explained = self._gone_since = None
        self.failed = False
        self._take(found)

    async def _explain(self, error: LogUnavailable) -> None:
        """Note why there is nothing, and whether to wait for it."""
        if error.reason != LogUnavailableReason.NOT_CAPTURED:
            self.unavailable, self.failed = error, error.reason not in WAITED_FOR
            return
        if self._explained is None:
            self._explained = await explained(self._calls, self.key, error)
        self.unavailable = self._explained
        if self._explained.reason in WAITED_FOR:
            self._gone_since, self.failed = None, False
            return
        # The event says so, not the storage. Through a folder that machines share, a file is seen seconds after it is
        # told of: what was really never there is so after a while, too.
        self._gone_since = self._now() if self._gone_since is None else self._gone_since
        self.failed = self._now() - self._gone_since >= self.settings.linger_s

    def _take(self, found: LogBytes) -> None:
        before = self.end
        self.size_bytes = found.size_bytes
        self.complete = found.complete  # in this order: see `piece`
        if self._opened:
            self._window += found.data
            self.end += len(found.data)
        else:
            # Who wants what stands before the end reads storage.
            self._opened = True
            self.end = found.size_bytes
        if self.end != before:
            self.moved_at = self._now()
        if self.end < self.size_bytes:
            self.wake()
        self.trim()

    def trim(self) -> None:
        """Drop what every viewer has had, and the oldest of what is above the window's bound."""
        had = min(self.viewers.values(), default=self.end) - (self.end - len(self._window))
        del self._window[: max(0, had, len(self._window) - self.settings.log_window_bytes)]

    def held(self, start: int) -> Piece | None:
        """At most a chunk of the text from `start`, made once for all who are there; None when the window doesn't reach
        back that far."""
        index = start - (self.end - len(self._window))
        if index < 0:
            return None
        count = max(0, min(len(self._window) - index, self.settings.chunk_bytes))
        place = (start, start + count, self.size_bytes, self.complete)
        piece = self._pieces.get(place)
        if piece is None:
            with memoryview(self._window) as window:
                data = bytes(window[index : index + count])
            piece = self.piece(start, data)
            while len(self._pieces) >= _PIECES_KEPT:
                del self._pieces[next(iter(self._pieces))]
            self._pieces[place] = piece
        return piece

    def piece(self, start: int, data: bytes) -> Piece:
        """Bytes of the log as text. May be called in any thread."""
        # In this order: where the end was once told, the size is the last one.
        complete = self.complete
        size_bytes = self.size_bytes
        read_to = start + len(data)
        closed = complete and read_to >= size_bytes
        chunk = chunk_of(self.key, self.io, start, data, at_end=closed, complete=closed, has_more=read_to < size_bytes)
        return Piece(chunk, read_to, closed, data[chunk.end_byte - start :])

    async def _look_whether_over(self) -> None:
        run_id, step_key = self.key.run_id, self.key.step_key

        def state(events: EventLogStorage) -> tuple[Head | None, StepState | None]:
            steps = events.steps([run_id], [step_key], 1).get(run_id, ())
            return events.heads([run_id]).get(run_id), next(iter(steps), None)

        run = (await self._calls.runs(lambda runs: runs.get([run_id], RunParts.NONE))).get(run_id)
        if run is None:
            self.run_gone = True
            return
        head, step = await self._calls.events(state)
        move = project(run, head.state) if head is not None else None
        final = (run.status if move is None else move.status).is_final
        later = step is not None and step.attempts > self.key.attempt
        if final or later or await self._has_later_log():
            if self.over_at is None:
                self.over_at = self._now()
        else:
            # An ended run that a spool brings more of isn't reopened, but a presumed end can be taken back.
            self.over_at = None

    async def _has_later_log(self) -> bool:
        if self._later_log:
            return True
        now = self._now()
        if self._looked_later_at is not None and now - self._looked_later_at < self._look_later_every_s:
            return False
        self._looked_later_at = now
        later = LogKey(self.key.run_id, self.key.step_key, self.key.attempt + 1)
        try:
            await self._calls.compute_logs(lambda logs: logs.read(later, self.io, 0, 0))
        except LogUnavailable:
            return False
        self._later_log = True
        return True


class LogWalk:
    """Where one viewer of a stream stands. Holds a byte offset, and the chunk that it is handing over."""

    def __init__(self, calls: StorageCalls, feed: LogFeed, viewer: Viewer, offset: int) -> None:
        """`feed` has been refreshed since the viewer came."""
        self._calls = calls
        self._feed = feed
        self._viewer = viewer
        self._offset = offset
        self._now = asyncio.get_running_loop().time

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The chunks; ends when the stream has (contract: computeLog).

        Raises:
            InvalidCursor: The place is beyond the log's end.
            LogUnavailable: It can't be read, or never came.
            RunNotFound: The run was deleted.
            ServerStopping
        """
        feed = self._feed
        if self._offset > feed.size_bytes and not (feed.run_gone or feed.failed):
            raise InvalidCursor(f"It names byte {self._offset}; the log has {feed.size_bytes}.")
        told = False
        while True:
            self._check()
            piece = await self._piece()
            chunk, read_to = piece.chunk, piece.read_to
            self._move_to(chunk.end_byte)
            if not told or chunk.end_byte > chunk.start_byte or piece.closed:
                yield chunk
                told = True
            if piece.closed:
                return
            if read_to < feed.end:
                continue
            if not await self._more(read_to):
                if piece.begun:
                    # The writer died within a character.
                    yield chunk_of(
                        feed.key, feed.io, chunk.end_byte, piece.begun, at_end=True, complete=False, has_more=False
                    )
                if feed.unavailable is not None:
                    raise await self._told_why(feed.unavailable)
                return

    def _check(self) -> None:
        if self._feed.run_gone:
            raise RunNotFound(self._feed.key.run_id)
        if self._feed.failed and self._feed.unavailable is not None:
            raise self._feed.unavailable

    async def _piece(self) -> Piece:
        feed, start, most = self._feed, self._offset, self._feed.settings.chunk_bytes
        held = feed.held(start)
        pause_s = feed.settings.poll_s
        while held is None:
            try:
                return await self._calls.compute_logs(
                    lambda logs: feed.piece(start, logs.read(feed.key, feed.io, start, most).data)
                )
            except StorageUnavailable:
                # The feed, which reads the same storage, says so in the server's log.
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, feed.settings.retry_most_s)
        return held

    async def _more(self, read_to: int) -> bool:
        """Wait at the log's end; False when nobody writes any more and nothing more has come."""
        feed = self._feed

        while True:
            over_at = feed.over_at
            left_s = None
            if over_at is not None:
                left_s = max(over_at, feed.moved_at) + feed.settings.linger_s - self._now()
            if await feed.changed(left_s, partial(self._has_news_or_other_end, read_to, over_at)):
                if self._has_news(read_to):
                    return True
                continue
            try:
                # Polls may have failed meanwhile: look once more.
                await feed.refresh()
            except StorageUnavailable:
                continue
            if self._has_news(read_to):
                return True
            if feed.over_at is not None:
                return False

    def _has_news(self, read_to: int) -> bool:
        feed = self._feed
        # Of one that was closed, what lies between is news once it has been read: to look again until then would hold
        # up everybody.
        closed = feed.complete and feed.end >= feed.size_bytes
        return feed.end > read_to or closed or feed.failed or feed.run_gone

    def _has_news_or_other_end(self, read_to: int, over_at: float | None) -> bool:
        return self._has_news(read_to) or self._feed.over_at != over_at

    def _move_to(self, offset: int) -> None:
        self._offset = self._feed.viewers[self._viewer] = offset

    async def _told_why(self, error: LogUnavailable) -> LogUnavailable:
        """The error, which also says where else the output may stand."""
        key = self._feed.key
        if error.reason != LogUnavailableReason.NOT_CAPTURED:
            return error
        files = (await self._calls.compute_logs(lambda logs: logs.list([key.run_id]))).get(key.run_id, ())
        return in_shared_log(key, error) if any(file.key.step_key == PROCESS_STEP_KEY for file in files) else error
