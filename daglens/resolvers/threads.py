"""Calls in threads, whose places are given back when the thread has ended, and no sooner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

A = TypeVar("A")
T = TypeVar("T")

_left_alone: set[asyncio.Task[Any]] = set()


async def in_thread(call: Callable[[A], T], argument: A, limiter: CapacityLimiter) -> T:
    """What `call` gives in a thread. Whoever waits for it may be cancelled: that ends at once.

    A call that hasn't begun is then never made. One that has can't be ended; it keeps its place in the limiter until it
    ends by itself. (anyio alone gives the place back when a task of asyncio is cancelled, and a storage that hangs
    would be asked by one more thread for each client that gives up.)
    """
    begun = False

    def begin() -> T:
        nonlocal begun
        begun = True
        return call(argument)

    task = asyncio.create_task(to_thread.run_sync(begin, limiter=limiter))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            if begun:
                _left_alone.add(task)
                task.add_done_callback(_forget)
            else:
                task.cancel()
        raise


def _forget(task: asyncio.Task[Any]) -> None:
    _left_alone.discard(task)
    if not task.cancelled():
        task.exception()  # nobody is there to be told
