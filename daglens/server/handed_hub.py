"""What stands in for the live hub when an operation is to be executed over batches that were read already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from daglens.resolvers import cursors
from daglens.resolvers.compute_logs import Chunk
from daglens.resolvers.live import EventBatch, RunGone
from daglens.storage.records import ComputeIO, EventFilter


class Asked(NamedTuple):
    """What a subscription asked of the hub, but for the place it begins at.

    Attributes:
        feed: Name of the hub's method.
        arguments: For it, beside `after`.
        after: The cursor that the document itself gave, if it did.
    """

    feed: str
    arguments: dict[str, Any]
    after: str | None


class HandedHub:
    """Gives one subscription what is handed in, one by one, and notes what it asked for."""

    def __init__(self) -> None:
        self.asked: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self._handed: asyncio.Queue[Any] = asyncio.Queue()

    def hand(self, item: Any) -> None:
        """Give the next item; an exception is raised where the hub would have raised it."""
        self._handed.put_nowait(item)

    async def run_events(
        self, run_id: str, after: str | None = None, filter: EventFilter | None = None
    ) -> AsyncGenerator[Any, None]:
        """See LiveHub."""
        self._note(Asked("run_events", {"run_id": run_id, "filter": filter}, after))
        while True:
            yield await self._next()

    async def compute_log(
        self, run_id: str, step_key: str, io: ComputeIO, attempt: int | None = None, after: str | None = None
    ) -> AsyncGenerator[Any, None]:
        """See LiveHub."""
        arguments = {"run_id": run_id, "step_key": step_key, "io": io, "attempt": attempt}
        self._note(Asked("compute_log", arguments, after))
        while True:
            yield await self._next()

    def _note(self, asked: Asked) -> None:
        if not self.asked.done():
            self.asked.set_result(asked)

    async def _next(self) -> Any:
        item = await self._handed.get()
        if isinstance(item, Exception):
            raise item
        return item


def cursor_of(item: EventBatch | RunGone | Chunk) -> str | None:
    """The cursor behind an item of a feed; None where there is nothing to go on from."""
    if isinstance(item, EventBatch):
        return cursors.event_cursor(item.incarnation, item.through_seq)
    return item.cursor if isinstance(item, Chunk) else None
