"""Storages are called off the event loop, each as often at once as it wants."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from daglens.resolvers.calls import StorageCalls
from daglens.storage.errors import RunDeleted, StorageUnavailable
from daglens.storage.records import Health


class Slow:
    """A storage whose one method waits for a gate, and knows how many are in it."""

    def __init__(self, pool_size: int) -> None:
        self.pool_size = pool_size
        self.gate = threading.Event()
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def work(self) -> int:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.gate.wait(20)
        with self.lock:
            self.inside -= 1
        return threading.get_ident()

    def health(self) -> Health:
        return Health(False, "secret!")


def calls_of(runs: Any, events: Any) -> StorageCalls:
    sections = dict.fromkeys(
        ("run_storage", "event_log_storage"), SimpleNamespace(clean=lambda text: text.replace("secret", "***"))
    )
    return StorageCalls(SimpleNamespace(runs=runs, events=events, compute_logs=None, artifacts=None, sections=sections))  # type: ignore[arg-type]


async def test_at_most_as_many_as_the_pool() -> None:
    """200 questions never ask a storage more often at once than its pool is large, and all are answered."""
    slow = Slow(3)
    calls = calls_of(slow, None)
    asked = [asyncio.create_task(calls.runs(lambda storage: storage.work())) for _ in range(200)]  # type: ignore[attr-defined]
    while slow.inside < 3:  # noqa: ASYNC110 - the threads come one by one
        await asyncio.sleep(0.001)
    slow.gate.set()
    threads = await asyncio.gather(*asked)
    assert slow.most == 3
    assert threading.get_ident() not in threads


async def test_a_storage_that_sleeps_holds_up_only_those_who_ask_it() -> None:
    """While all of one storage's calls hang, the loop turns and another storage answers."""
    slow, quick = Slow(1), Slow(1)
    quick.gate.set()
    calls = calls_of(slow, quick)
    hanging = [asyncio.create_task(calls.runs(lambda storage: storage.work())) for _ in range(5)]  # type: ignore[attr-defined]
    assert await asyncio.wait_for(calls.events(lambda storage: storage.work()), 10)  # type: ignore[attr-defined]
    assert not any(task.done() for task in hanging)
    slow.gate.set()
    await asyncio.gather(*hanging)


def fail(error: Exception) -> None:
    raise error


async def test_what_is_raised() -> None:
    """A storage's own errors come as they are, without secrets; anything else is StorageUnavailable, and its cause."""
    calls = calls_of(Slow(1), Slow(1))
    with pytest.raises(RunDeleted):
        await calls.runs(lambda storage: fail(RunDeleted("r")))
    with pytest.raises(StorageUnavailable, match=r"password \*\*\* is wrong"):
        await calls.runs(lambda storage: fail(StorageUnavailable("The password secret is wrong.")))
    with pytest.raises(StorageUnavailable) as raised:
        await calls.runs(lambda storage: fail(OSError("secret")))
    assert "secret" not in str(raised.value)
    assert isinstance(raised.value.__cause__, OSError)


async def test_health_never_raises() -> None:
    """Health comes without secrets; a storage without the method is not healthy."""
    calls = calls_of(Slow(1), object())
    assert await calls.health("run_storage") == Health(False, "***!")
    assert (await calls.health("event_log_storage")).healthy is False
