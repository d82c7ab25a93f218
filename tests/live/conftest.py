"""A live hub over storages in memory and in SQLite, with a writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.live import EventBatch, LiveHub, LiveSettings, RunGone
from daglens.storage import event_types as et
from daglens.storage.contract import EventLogStorage
from daglens.storage.records import Appended, EventDraft, EventFilter, NewRun
from tests.live.storages import Observed

QUICK = LiveSettings(poll_s=0.02, coalesce_s=0.005, linger_s=0.1, still_s=30.0, watch_idle_s=0.0, retry_most_s=0.05)


@dataclass
class History:
    """An instance whose event storage can be looked into, and what writes to it."""

    instance: Instance
    events: Observed

    def create(self, run_id: str = "run") -> str:
        """Add a run."""
        self.instance.create_run(NewRun(run_id, "nightly"))
        return run_id

    def write(self, count: int = 1, run_id: str = "run", event_type: str = et.LOG_MESSAGE, size: int = 1) -> Appended:
        """Append events with a message of `size` characters."""
        return self.instance.append(run_id, [EventDraft(event_type, message="x" * size) for _ in range(count)])

    def end(self, run_id: str = "run") -> None:
        """Append RUN_SUCCESS."""
        self.write(1, run_id, et.RUN_SUCCESS)


@pytest.fixture(params=["memory", "sqlite"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    """One per kind of storage."""
    opened = Instance.ephemeral() if request.param == "memory" else Instance.open(home=tmp_path)
    with opened:
        events = Observed(opened.events)
        yield History(replace(opened, events=cast(EventLogStorage, events)), events)


@asynccontextmanager
async def hub_of(history: History, **settings: object) -> AsyncIterator[LiveHub]:
    """A hub with quick settings, and others as given."""
    hub = LiveHub(StorageCalls(history.instance), replace(QUICK, **settings))  # type: ignore[arg-type]
    try:
        yield hub
    finally:
        await hub.close()


@pytest.fixture
async def hub(history: History) -> AsyncIterator[LiveHub]:
    """A hub with quick settings."""
    async with hub_of(history) as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks and threads bring about; pytest's own limit ends a wait for what never comes."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.001)


class Viewer:
    """Reads a feed of events and remembers what it was told."""

    def __init__(self, hub: LiveHub, run_id: str = "run", after: str | None = None, filter: EventFilter | None = None):
        self.feed = hub.run_events(run_id, after, filter)
        self.messages: list[EventBatch | RunGone] = []

    @property
    def seqs(self) -> list[int]:
        """seqs of the events had, in the order they came."""
        return [event.seq for batch in self.batches for event in batch.events]

    @property
    def batches(self) -> list[EventBatch]:
        """The batches had."""
        return [message for message in self.messages if isinstance(message, EventBatch)]

    async def next(self) -> EventBatch | RunGone:
        """The next message."""
        message = await anext(self.feed)
        self.messages.append(message)
        return message

    async def until(self, reached: Callable[[EventBatch], bool]) -> EventBatch:
        """Read up to a batch."""
        while True:
            batch = await self.next()
            assert isinstance(batch, EventBatch)
            if reached(batch):
                return batch

    async def through(self, seq: int) -> EventBatch:
        """Read until `throughSeq` has reached `seq`."""
        return await self.until(lambda batch: batch.through_seq >= seq)

    async def all(self) -> list[int]:
        """Read until the feed ends; the seqs."""
        async for message in self.feed:
            self.messages.append(message)
        return self.seqs

    async def close(self) -> None:
        """Go away."""
        await self.feed.aclose()
