"""Many questions of one kind, asked at the same moment, become one: so N items of a list cost one call of a storage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Batch(Generic[K, V]):
    """Collects the keys asked for in one turn of the event loop and loads them together, each once.

    A load for which everybody has given up is cancelled: else those of operations that took too long would wait for a
    storage that hangs, more and more of them, and be made for nobody when it answers again.

    Nothing is kept beyond a batch, so an answer is never older than the question: not in a
    subscription that lives for days, either.
    """

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        """`load` gives a value for every key; when it raises, everybody who asked gets that same exception."""
        self._load = load
        self._waiting: dict[K, list[asyncio.Future[V]]] = {}
        self._running: dict[asyncio.Task[None], dict[K, list[asyncio.Future[V]]]] = {}

    async def get(self, key: K) -> V:
        """The value of one key."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._start)
        future: asyncio.Future[V] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        try:
            return await future
        except asyncio.CancelledError:
            self._end_unheard()
            raise

    def _start(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if waiting:
            task = asyncio.get_running_loop().create_task(self._answer(waiting))
            self._running[task] = waiting
            task.add_done_callback(self._running.pop)

    def _end_unheard(self) -> None:
        if _nobody_waits(self._waiting):
            self._waiting = {}
        for task, waiting in self._running.items():
            if _nobody_waits(waiting):
                task.cancel()

    async def _answer(self, waiting: dict[K, list[asyncio.Future[V]]]) -> None:
        try:
            values = await self._load(list(waiting))
            for key, futures in waiting.items():
                value = values[key]
                for future in futures:
                    if not future.done():
                        future.set_result(value)
        except asyncio.CancelledError:
            for futures in waiting.values():
                for future in futures:
                    future.cancel()
            raise
        except Exception as error:
            for futures in waiting.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(error)


def _nobody_waits(waiting: Mapping[K, Sequence[asyncio.Future[V]]]) -> bool:
    return all(future.done() for futures in waiting.values() for future in futures)
