"""A log that grows, read once however many watch it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context
from typing import Any

from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.errors import DaglensError, StorageContractBroken, StorageUnavailable

log = logging.getLogger("daglens.live")

MANY_VIEWERS = 1000
"""From here on a feed takes its time between two reads."""


class ServerStopping(DaglensError):
    """The server is stopping: subscribe again with the last cursor."""

    code = "SERVER_STOPPING"


class Viewer:
    """Who reads a feed. One of two who stand at the same place may read for both: see `skip`.

    Attributes:
        leads: It reads for others only, who are counted themselves.
    """

    def __init__(self, *, leads: bool = False) -> None:
        self.leads = leads
        self._skip: Callable[[Any], None] | None = None

    def walks(self, skip: Callable[[Any], None]) -> None:
        """Its walk through the feed begins; `skip` moves it."""
        self._skip = skip

    def skip(self, item: Any) -> None:
        """It was given what follows its place, an item of the same feed, by whoever read it: go on behind that."""
        if self._skip is not None:
            self._skip(item)


class Feed(ABC):
    """Reads one log when woken and tells its viewers. It lives as long as it has viewers, in one task.

    A viewer holds its own place, and waits with `changed` after it has looked at what the feed holds. Both happen on
    the event loop with nothing awaited in between, so no news falls into the gap.

    Attributes:
        viewers: By viewer, up to where it has had the log: a seq, or a byte.
        stopped: It reads no more, and whoever waits is told.
    """

    def __init__(self, name: str, settings: LiveSettings, *, poll_s: float | None) -> None:
        """`name` is what log lines call it. `poll_s`: how often it reads unwoken; None: somebody else polls for it."""
        self.name = name
        self.settings = settings
        self.viewers: dict[Viewer, int] = {}
        self.stopped = False
        self._poll_s = poll_s
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._asked: asyncio.Future[None] | None = None
        # One future per waiting viewer: waiting for a shared one takes asyncio.wait, or whoever is cancelled ends it
        # for all, and costs three times as much.
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._last_read_at = self._loop.time() - settings.coalesce_s
        self._broken: StorageContractBroken | None = None
        self._failures = 0
        # Not on behalf of the first viewer, whose request id and span are others'.
        self._task = self._loop.create_task(self._run(), name=f"daglens-live {name}", context=Context())

    @abstractmethod
    async def read(self, *, joining: bool) -> bool:
        """Read what is new; True when viewers have news. `joining`: somebody waits in `refresh`.

        Raises:
            StorageUnavailable: It is tried again later.
        """

    def wake(self) -> None:
        """There may be news: read soon."""
        self._wake.set()

    async def refresh(self) -> None:
        """Return after a read that began later than this call; all who ask meanwhile share one.

        Raises:
            StorageUnavailable: That read failed.
            ServerStopping: The feed was stopped.
        """
        if self.stopped:
            raise ServerStopping
        if self._asked is None:
            self._asked = self._loop.create_future()
            self._wake.set()
        asked = self._asked
        await asyncio.wait([asked])
        asked.result()

    async def changed(self, timeout_s: float | None, until: Callable[[], bool]) -> bool:
        """Wait until `until()`, looking each time the feed has news; False when the time is up first.

        Raises:
            ServerStopping: The feed was stopped.
            StorageContractBroken: The last read gave what can't be: to wait for better could take for ever.
        """
        deadline = None if timeout_s is None else self._loop.time() + timeout_s
        while not until():
            left_s = None if deadline is None else deadline - self._loop.time()
            if left_s is not None and left_s <= 0:
                return False
            if self.stopped:
                raise ServerStopping
            if self._broken is not None:
                raise self._broken.with_traceback(None)
            await self._told(left_s)
        return True

    async def _told(self, timeout_s: float | None) -> None:
        told: asyncio.Future[None] = self._loop.create_future()
        self._waiting[told] = None
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, _settle, told)
        try:
            await told
        finally:
            self._waiting.pop(told, None)
            if timer is not None:
                timer.cancel()

    @property
    def reading(self) -> set[asyncio.Task[Any]]:
        """Reads for single viewers that are under way, beside the feed's own."""
        return set()

    def stop(self) -> asyncio.Task[None]:
        """End the feed: its viewers with ServerStopping, and its task, which is given back, soon."""
        self.stopped = True
        self._task.cancel()
        if self._asked is not None:
            _answer(self._asked, ServerStopping())
            self._asked = None
        self.tell()
        return self._task

    def tell(self) -> None:
        """Let every viewer look again."""
        waiting, self._waiting = self._waiting, {}
        for told in waiting:
            _settle(told)

    @property
    def coalesce_s(self) -> float:
        """Least time between two reads, with as many viewers as there are."""
        least_s, most_s = self.settings.coalesce_s, self.settings.coalesce_most_s
        return least_s + max(0.0, most_s - least_s) * min(1.0, len(self.viewers) / MANY_VIEWERS)

    async def _run(self) -> None:
        while True:
            await self._woken()
            # Taken before the read begins: who asks from here on waits for the next one.
            asked, self._asked = self._asked, None
            self._wake.clear()
            self._last_read_at = self._loop.time()
            try:
                news = await self.read(joining=asked is not None)
            except asyncio.CancelledError:
                _answer(asked, ServerStopping())
                raise
            except Exception as error:
                self._broken = error if isinstance(error, StorageContractBroken) else None
                _answer(asked, error)
                if self._broken is not None:
                    self.tell()
                await self._pause(error)
                continue
            self._broken = None
            if self._failures:
                self._failures = 0
                log.info("%s: the storage answers again", self.name)
            _answer(asked, None)
            if news:
                self.tell()

    async def _woken(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()
        await asyncio.sleep(max(0.0, self._last_read_at + self.coalesce_s - self._loop.time()))

    async def _pause(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            bug = None if isinstance(error, StorageUnavailable) and error.foreseen else error
            log.warning("%s: %s Its viewers wait; it is tried until it answers.", self.name, error, exc_info=bug)
        await asyncio.sleep(min(self.settings.retry_most_s, self.settings.poll_s * 2 ** min(self._failures, 20)))
        self._wake.set()


def _settle(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


def _answer(asked: asyncio.Future[None] | None, error: Exception | None) -> None:
    if asked is None:
        return
    if error is None:
        asked.set_result(None)
    else:
        asked.set_exception(error)
        asked.exception()  # whoever asked may have gone meanwhile
