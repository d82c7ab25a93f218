"""Questions asked at the same moment are one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence

import pytest

from daglens.resolvers.batching import Batch


class Doubling:
    """Doubles numbers, and notes what it was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, keys: Sequence[int]) -> Mapping[int, int]:
        self.asked.append(list(keys))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return {key: key * 2 for key in keys}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - each turn of the loop is a chance
        await asyncio.sleep(0)


async def test_keys_of_one_moment_are_loaded_together() -> None:
    """Whoever asks in the same turn of the loop shares one load, in which each key stands once."""
    load = Doubling()
    batch = Batch(load)
    assert await asyncio.gather(*(batch.get(n) for n in (1, 2, 1, 3))) == [2, 4, 2, 6]
    assert load.asked == [[1, 2, 3]]


async def test_nothing_is_kept() -> None:
    """A later question is asked again: a subscription never sees an old answer."""
    load = Doubling()
    batch = Batch(load)
    await batch.get(1)
    await batch.get(1)
    assert load.asked == [[1], [1]]


async def test_a_question_asked_while_one_loads() -> None:
    """It doesn't join the load that has begun; it gets one of its own."""
    load = Doubling()
    load.gate.clear()
    batch = Batch(load)
    first = asyncio.create_task(batch.get(1))
    await until(lambda: len(load.asked) == 1)
    second = asyncio.create_task(batch.get(2))
    await until(lambda: len(load.asked) == 2)
    load.gate.set()
    assert [await first, await second] == [2, 4]
    assert load.asked == [[1], [2]]


async def test_a_failure_reaches_everybody_who_asked() -> None:
    """All get the same exception, and the next batch is tried anew."""
    load = Doubling()
    load.failure = ValueError("gone")
    batch = Batch(load)
    results: list[object] = list(await asyncio.gather(batch.get(1), batch.get(2), return_exceptions=True))
    assert results == [load.failure, load.failure]
    load.failure = None
    assert await batch.get(1) == 2


async def test_one_who_goes_away_disturbs_nobody(recwarn: pytest.WarningsRecorder) -> None:
    """Cancelling one question leaves the others of the batch alone, and leaves no unheard exception behind."""
    load = Doubling()
    load.gate.clear()
    batch = Batch(load)
    going, staying = asyncio.create_task(batch.get(1)), asyncio.create_task(batch.get(1))
    await until(lambda: len(load.asked) == 1)
    going.cancel()
    load.gate.set()
    assert await staying == 2
    load.gate.clear()
    load.failure = ValueError("gone")
    alone = asyncio.create_task(batch.get(1))
    await until(lambda: len(load.asked) == 2)
    alone.cancel()
    load.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await alone
    await until(lambda: not batch._running)
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


async def test_nobody_waits_any_more() -> None:
    """What nobody waits for is loaded no further, or not at all; what somebody waits for is, whoever else gives up."""
    ended: list[list[int]] = []
    gate = asyncio.Event()

    async def load(keys: Sequence[int]) -> Mapping[int, int]:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            ended.append(list(keys))
            raise
        return {key: key * 2 for key in keys}

    batch = Batch(load)
    staying, going, also_going = (asyncio.create_task(batch.get(n)) for n in (1, 1, 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    alone = [asyncio.create_task(batch.get(n)) for n in (3, 4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in (going, also_going, *alone):
        task.cancel()
    await asyncio.gather(going, also_going, *alone, return_exceptions=True)
    await until(lambda: bool(ended))
    not_begun = asyncio.create_task(batch.get(5))
    await asyncio.sleep(0)
    not_begun.cancel()
    await asyncio.gather(not_begun, return_exceptions=True)
    later = asyncio.create_task(batch.get(6))
    gate.set()
    assert [await staying, await later] == [2, 12]
    assert ended == [[3, 4]]
