"""Calls in threads: whoever gives up is free at once, and the thread's place only when it has ended."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from daglens.resolvers import threads as of_storages
from daglens.resolvers.threads import Threads

PATIENCE_S = 60


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - threads have no event to wait for
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
        threads = Threads(2, "test")
        tasks = [asyncio.create_task(threads.carry_out(hang, number)) for number in range(5)]
        await until(lambda: len(begun) == 2)
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert (threads.busy, threads.waiting) == (2, 0)
        late = asyncio.create_task(threads.carry_out(hang, 7))
        await asyncio.sleep(0)
        assert (threads.busy, threads.waiting) == (2, 1)
        answer.set()
        assert await late == 7
        await until(lambda: not threads.busy)

    asyncio.run(scenario())
    assert sorted(begun) == [0, 1, 7]


def test_results_and_errors() -> None:
    """What the call gives or raises is the caller's."""

    async def scenario() -> None:
        threads = Threads(1, "test")
        assert await threads.carry_out(lambda n: n + 1, 1) == 2
        with pytest.raises(ZeroDivisionError):
            await threads.carry_out(lambda n: n / 0, 1)
        assert threads.busy == 0

    asyncio.run(scenario())


def test_no_call_waits_for_a_thread_that_is_busy_while_another_may_begin() -> None:
    """As many calls as there are threads run at once, however they come and go; each is made once."""
    most = 4

    async def scenario() -> None:
        threads = Threads(most, "test")
        for _ in range(200):
            together = threading.Barrier(most)
            places = [threads.carry_out(lambda barrier: barrier.wait(PATIENCE_S), together) for _ in range(most)]
            assert sorted(await asyncio.gather(*places)) == list(range(most))
        made: list[int] = []
        await asyncio.gather(*(threads.carry_out(made.append, number) for number in range(500)))
        assert sorted(made) == list(range(500))
        assert (threads.busy, threads.waiting) == (0, 0)

    asyncio.run(scenario())


def test_threads_that_have_nothing_to_do_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are gone after a while, and begin anew when there is something to do; also where both come at once."""
    monkeypatch.setattr(of_storages, "_IDLE_S", 0.0001)

    async def scenario() -> None:
        threads = Threads(2, "ends-soon")
        for number in range(300):
            assert await threads.carry_out(lambda n: n, number) == number
            await asyncio.sleep(0.0001 * (number % 4))
        await until(lambda: not any(thread.name == "ends-soon" for thread in threading.enumerate()))
        assert threads.busy == 0
        assert await threads.carry_out(lambda n: n, 1) == 1

    asyncio.run(scenario())


def test_what_an_iterator_raises() -> None:
    """StopIteration, which no future takes, is told as an error; whoever waits doesn't wait for ever."""

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await Threads(1, "test").carry_out(next, iter(()))

    asyncio.run(scenario())


def test_no_more_threads_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for the threads that there are; where there is none they fail, and are made again later."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        threads, leave, begun = Threads(3, "test"), threading.Event(), threading.Event()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                await threads.carry_out(lambda n: n, 0)

        def stay(number: int) -> int:
            begun.set()
            assert leave.wait(PATIENCE_S)
            return number

        staying = asyncio.create_task(threads.carry_out(stay, 1))
        await until(begun.is_set)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            others = [asyncio.create_task(threads.carry_out(lambda n: n, number)) for number in (2, 3)]
            await asyncio.sleep(0)
            assert (threads.busy, threads.waiting) == (1, 2)
            leave.set()
            assert await asyncio.gather(staying, *others) == [1, 2, 3]

    asyncio.run(scenario())


def in_a_fork(work: Callable[[], bool]) -> int:
    """Exit code of a forked child: 0 when `work` gives True there."""
    with warnings.catch_warnings():
        # 3.12 warns of a fork while there are threads; that they are there is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def found_in_a_thread(answer: Callable[[], Coroutine[Any, Any, int]]) -> list[int]:
    """What it answers in an event loop of its own; nothing when it never does."""
    found: list[int] = []
    asked = threading.Thread(target=lambda: found.append(asyncio.run(answer())))
    asked.start()
    asked.join(PATIENCE_S)
    return found


@pytest.mark.parametrize("busy", [False, True])
def test_a_forked_child_has_threads_of_its_own(busy: bool) -> None:
    """A process that has made calls and forks: those of the child are carried out, too; its parent's threads aren't
    there, be they idle or busy."""
    threads, leave, begun = Threads(1, "parent"), threading.Event(), threading.Event()

    def stay(event: threading.Event) -> None:
        begun.set()
        assert event.wait(PATIENCE_S)

    async def answer() -> int:
        return await asyncio.wait_for(threads.carry_out(lambda n: n + 1, 1), PATIENCE_S)

    async def scenario() -> int:
        staying = asyncio.create_task(threads.carry_out(stay, leave))
        await until(begun.is_set)
        if not busy:
            leave.set()
            await staying
        code = in_a_fork(lambda: found_in_a_thread(answer) == [2])
        leave.set()
        await staying
        assert await answer() == 2
        return code

    assert asyncio.run(scenario()) == 0
