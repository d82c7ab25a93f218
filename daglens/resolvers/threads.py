"""Calls in threads of our own, a few for each storage.

anyio does the same for any event loop and any number of limiters, by more than a hundred calls of Python for each hop;
a hop is made at every read (benchmarks/over_http.py).
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")

_IDLE_S = 10.0
"""A thread that has had nothing to do for so long ends."""


class _Asked:
    """A call, and who waits for what it gives."""

    __slots__ = ("_answer", "_argument", "_call", "_context", "_loop")

    def __init__(self, call: Callable[[Any], Any], argument: Any, answer: asyncio.Future[Any]) -> None:
        self._context = copy_context()
        self._call = call
        self._argument = argument
        self._answer = answer
        self._loop = answer.get_loop()

    def carry_out(self) -> Callable[[], None]:
        """Make the call, unless nobody waits any more; what tells them of it."""
        given, error = None, None
        try:
            if not self._answer.cancelled():
                given = self._context.run(self._call, self._argument)
        except BaseException as raised:
            # A future takes no StopIteration; a coroutine would tell the same.
            error = RuntimeError("The call raised StopIteration") if isinstance(raised, StopIteration) else raised

        def tell() -> None:
            # A loop that is closed has nobody left who waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_tell, self._answer, given, error)

        return tell


class _Worker:
    """A thread that waits to be woken with a call."""

    __slots__ = ("asked", "wake")

    def __init__(self) -> None:
        self.asked: _Asked | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def take(self) -> _Asked:
        """The call it was woken for."""
        asked, self.asked = self.asked, None
        assert asked is not None
        return asked


class Threads:
    """At most so many threads, which carry out calls in the order in which they were asked for.

    Whoever waits may be cancelled: that ends at once. A call that hasn't begun is then never made. One that has can't
    be ended; its thread is busy until it ends by itself, so that a storage that hangs is asked by no more threads than
    these, whoever gives up.
    """

    def __init__(self, most: int, name: str) -> None:
        """`name` is what they are called by tools that list threads."""
        self.most = most
        self._name = name
        self._renew()
        _living.add(self)

    def _renew(self) -> None:
        """Begin with no thread and no call: a fresh start, also of a forked child, which has none of the threads."""
        self._lock = threading.Lock()
        self._started = 0
        self._idle: list[_Worker] = []
        self._waiting: deque[_Asked] = deque()

    @property
    def busy(self) -> int:
        """How many carry out a call now."""
        return self._started - len(self._idle)

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return len(self._waiting)

    async def carry_out(self, call: Callable[[Any], T], argument: Any) -> T:
        """What `call` gives for the argument, in a thread and in the context of whoever asks; raises what it raises."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        asked = _Asked(call, argument, answer)
        self._hand_over(asked)
        try:
            return await answer
        except asyncio.CancelledError:
            with self._lock, suppress(ValueError):
                self._waiting.remove(asked)
            raise

    def _hand_over(self, asked: _Asked) -> None:
        with self._lock:
            if self._idle:
                # The one that has worked last: what it needs is still at hand, and the others may end.
                worker = self._idle.pop()
                worker.asked = asked
                worker.wake.release()
                return
            if self._started >= self.most:
                self._waiting.append(asked)
                return
            self._started += 1
        # As a daemon: a storage that hangs doesn't keep the process from ending.
        thread = threading.Thread(target=self._work, args=(_Worker(), asked), name=self._name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            # The process may have no more of them.
            with self._lock:
                self._started -= 1
                if not self._started:
                    raise
                if not self._idle:
                    self._waiting.append(asked)
                    return
            self._hand_over(asked)

    def _work(self, worker: _Worker, asked: _Asked) -> None:
        while True:
            tell = asked.carry_out()
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                if following is None:
                    self._idle.append(worker)
            tell()
            # Not until the next call comes: they may hold megabytes.
            del tell, asked
            if following is None:
                if not worker.wake.acquire(timeout=_IDLE_S) and self._has_ended(worker):
                    return
                following = worker.take()
            asked = following
            del following

    def _has_ended(self, worker: _Worker) -> bool:
        """Nothing has come for it for a while; or just now, after all."""
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                self._started -= 1
                return True
        worker.wake.acquire()
        return False


def _tell(answer: asyncio.Future[Any], given: Any, error: BaseException | None) -> None:
    if answer.cancelled():
        return
    if error is None:
        answer.set_result(given)
    else:
        answer.set_exception(error)


_living: weakref.WeakSet[Threads] = weakref.WeakSet()


def _in_child() -> None:
    for threads in list(_living):
        threads._renew()


os.register_at_fork(after_in_child=_in_child)
