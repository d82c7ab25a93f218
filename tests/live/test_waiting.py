"""Long polling: waiting on the event loop until a run has news."""

from __future__ import annotations

import asyncio

import pytest

from daglens import upkeep
from daglens.resolvers.live import LiveHub
from daglens.storage.errors import RunNotFound
from tests.live.conftest import History, hub_of, until


async def test_wait_ends_with_an_event(history: History, hub: LiveHub) -> None:
    """Whoever waits is woken by the first event behind the place given; one that is there already is no wait."""
    history.create()
    history.write(2)
    assert await hub.wait_for_events("run", 1, 60)
    waiting = [asyncio.create_task(hub.wait_for_events("run", 2, 60)) for _ in range(20)]
    await until(lambda: not (hub.viewers < 20))
    history.write(1)
    assert await asyncio.gather(*waiting) == [True] * 20
    assert hub.feeds == 0


async def test_wait_ends_with_its_time(history: History, hub: LiveHub) -> None:
    """A wait without news says so when its time is up."""
    history.create()
    assert not await hub.wait_for_events("run", 0, 0.01)
    assert hub.feeds == 0


async def test_wait_ends_with_the_run(history: History, hub: LiveHub) -> None:
    """A deletion is news; a run that isn't there can't be waited for."""
    history.create()
    waiting = asyncio.create_task(hub.wait_for_events("run", 0, 60))
    await until(lambda: bool(history.events.polled))
    await asyncio.to_thread(upkeep.delete_run, history.instance, "run")
    assert await waiting
    with pytest.raises(RunNotFound):
        await hub.wait_for_events("run", 0, 60)


async def test_draining_ends_waits(history: History) -> None:
    """A server that is about to stop lets everybody who waits answer now."""
    history.create()
    async with hub_of(history) as hub:
        waiting = asyncio.create_task(hub.wait_for_events("run", 0, 60))
        await until(lambda: bool(history.events.polled))
        hub.drain()
        assert not await waiting
