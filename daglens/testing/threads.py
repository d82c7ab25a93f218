"""Running things at once in a test, and waiting for them with a deadline instead of a sleep."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 60.0
"""How long a test waits for a signal before it counts as never coming. Generous: only a failing test waits so long."""


def together(actions: Sequence[Callable[[], T]]) -> list[T]:
    """Run each action in a thread of its own, all starting at once; their results in order.

    The first exception of an action is raised here, after all have ended.
    """
    start = threading.Barrier(len(actions))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            start.wait(DEADLINE_S)
            results[index] = actions[index]()
        except BaseException as error:
            errors.append(error)

    # Daemons: an action that hangs fails its test, and doesn't keep the test run from ending.
    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    if any(thread.is_alive() for thread in threads):
        raise AssertionError(f"After {DEADLINE_S:g} s some of {len(actions)} concurrent calls had not returned.")
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(actions))]


class Clock:
    """A clock that a test moves by hand. Call it for microseconds since 1970-01-01 UTC."""

    def __init__(self, now_us: int = 1_800_000_000_000_000) -> None:
        self._now_us = now_us

    def __call__(self) -> int:
        """The time; it stands still."""
        return self._now_us

    def advance_days(self, days: float) -> None:
        """Move on."""
        self._now_us += int(days * 86_400_000_000)
