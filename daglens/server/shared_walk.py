"""The live part of a shared subscription: one walk reads for all viewers who have kept up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from daglens.resolvers.live import EventBatch, RunGone, Viewer

log = logging.getLogger("daglens.server")

Push = Callable[[bytes], bool]
"""Sends a viewer a result at once; False, and nothing is sent, when it has not read what went before."""


class Follower:
    """A viewer that others read for. It waits until it has to read for itself again, or all is over."""

    __slots__ = ("over", "push", "viewer")

    def __init__(self, viewer: Viewer, push: Push) -> None:
        self.viewer = viewer
        self.push = push
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def release(self, *, ended: bool) -> None:
        """Let it go on: it has had everything (`ended`), or goes on reading behind what it was given."""
        if not self.over.done():
            self.over.set_result(ended)


class SharedWalk:
    """Reads a feed and gives each batch to those who stand where it begins.

    Whoever stands elsewhere, can't be sent to at once, or is affected by anything unusual reads for itself again, from
    where it stands; so a slow viewer holds up nobody, and holds nothing.
    """

    def __init__(self, text: Callable[[EventBatch], Awaitable[bytes | None]]) -> None:
        """`text`: the ready-made result of a batch; None when each has to execute it for itself."""
        self._text = text
        self._standing: dict[int, dict[Follower, None]] = {}
        self._place = 0
        self._task: asyncio.Task[None] | None = None

    async def follow(self, place: int, viewer: Viewer, push: Push, read: Callable[[Viewer], Feed]) -> bool:
        """Be read for; return True when the feed is over and all of it was given, False to go on alone.

        `place`: seq that this viewer has had all up to, the end of the log when that was read. `read` begins a walk
        there, if there is none yet.
        """
        if self._task is None:
            self._place = place
            self._task = asyncio.create_task(self._lead(read), name="daglens-shared walk")
        elif place < self._place:
            # What it has yet to be given was given to the others already.
            return False
        follower = Follower(viewer, push)
        self._standing.setdefault(place, {})[follower] = None
        try:
            return await follower.over
        finally:
            for standing in self._standing.values():
                standing.pop(follower, None)

    @property
    def followers(self) -> int:
        """How many it reads for."""
        return sum(map(len, self._standing.values()))

    async def close(self) -> None:
        """End the walk."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _lead(self, read: Callable[[Viewer], Feed]) -> None:
        ended = False
        first = True
        try:
            async with aclosing(read(Viewer(leads=True))) as items:
                async for item in items:
                    if isinstance(item, RunGone):
                        return
                    if not (first and item.through_seq == self._place):
                        self._give(item, await self._text(item))
                    first = False
            ended = True
        except Exception as error:
            # Whatever it is, those who now read for themselves meet it as well, and are told.
            log.debug("a shared walk ended: %s", error)
        finally:
            self._task = None
            standing, self._standing = self._standing, {}
            for place, followers in standing.items():
                for follower in followers:
                    follower.release(ended=ended and place == self._place)

    def _give(self, batch: EventBatch, body: bytes | None) -> None:
        """Give a batch to those who stand where it begins. Those who stand at its end have had it."""
        standing, self._standing = self._standing, {}
        begin = standing.pop(self._place, {})
        self._place = batch.through_seq
        kept = self._standing[self._place] = standing.pop(self._place, {})
        for place, others in standing.items():
            if place > self._place:
                self._standing[place] = others
                continue
            for follower in others:
                follower.release(ended=False)
        for follower in begin:
            if body is not None and _pushed(follower, body):
                follower.viewer.skip(batch)
                kept[follower] = None
            else:
                follower.release(ended=False)


def _pushed(follower: Follower, body: bytes) -> bool:
    try:
        return follower.push(body)
    except Exception as error:
        # One whose connection is being torn down; the others are still to be given what they wait for.
        log.debug("a viewer can't be pushed to: %s", error)
        return False


Feed = AsyncGenerator[EventBatch | RunGone, None]
