"""Calls in threads: whoever gives up is free at once, and the thread's place only when it has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from anyio import CapacityLimiter

from daglens.resolvers.threads import in_thread

PATIENCE_S = 60


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - threads and anyio's limiter have no event to wait for
            await asyncio.sleep(0.001)


def test_places_of_calls_that_hang() -> None:
    """Callers who give up go at once; their calls keep their places, those that wait for one are never made, and when
    the storage answers again all places are free."""
    answer = threading.Event()
    begun: list[int] = []

    def hang(number: int) -> int:
        begun.append(number)
        assert answer.wait(PATIENCE_S)
        if number == 1:
            raise ValueError("nobody is told")
        return number

    async def scenario() -> None:
        limiter = CapacityLimiter(2)
        tasks = [asyncio.create_task(in_thread(hang, number, limiter)) for number in range(5)]
        await until(lambda: len(begun) == 2)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert limiter.borrowed_tokens == 2
        late = asyncio.create_task(in_thread(hang, 7, limiter))
        await asyncio.sleep(0)
        assert limiter.borrowed_tokens == 2
        answer.set()
        assert await late == 7
        await until(lambda: not limiter.borrowed_tokens)

    asyncio.run(scenario())
    assert sorted(begun) == [0, 1, 7]


def test_results_and_errors() -> None:
    """What the call gives or raises is the caller's."""

    async def scenario() -> None:
        limiter = CapacityLimiter(1)
        assert await in_thread(lambda n: n + 1, 1, limiter) == 2
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda n: n / 0, 1, limiter)
        assert limiter.borrowed_tokens == 0

    asyncio.run(scenario())
