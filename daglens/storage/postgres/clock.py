"""The server's clock, without asking for it each time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from daglens.storage.errors import StorageUnavailable

NOW_US = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""SQL for the server's time in microseconds since 1970-01-01 UTC."""

_REFRESH_NS = 30_000_000_000
_RETRY_NS = 1_000_000_000
_STEP_US = 1_000_000


def steady_ns() -> int:
    """Nanoseconds that count on while the machine sleeps, where it can tell: by a clock that stands still meanwhile, a
    laptop's times would be behind for up to half a minute after it wakes."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic_ns()


class ServerClock:
    """Microseconds since 1970-01-01 UTC by the server's clock: one clock for all machines that write.

    Asked for every 30 s and counted on from there; wrong by at most half a round trip and what the two clocks drift
    apart in that time. It doesn't go back by less than a second.
    """

    def __init__(self, ask: Callable[[], int]) -> None:
        """`ask` gives the server's time, or raises StorageUnavailable."""
        self._ask = ask
        self._lock = threading.Lock()
        self._offset_us: int | None = None
        self._due_ns = 0
        self._last_us = 0

    def __call__(self) -> int:
        """The time.

        Raises:
            StorageUnavailable: The server was never asked yet, and does not answer.
        """
        with self._lock:
            if steady_ns() >= self._due_ns:
                self._refresh()
            assert self._offset_us is not None
            now = steady_ns() // 1000 + self._offset_us
            if 0 < self._last_us - now < _STEP_US:
                return self._last_us
            self._last_us = now
            return now

    def _refresh(self) -> None:
        begun = steady_ns()
        try:
            server_us = self._ask()
        except StorageUnavailable:
            if self._offset_us is None:
                raise
            self._due_ns = steady_ns() + _RETRY_NS
            return
        ended = steady_ns()
        self._offset_us = server_us - (begun + ended) // 2000
        self._due_ns = ended + _REFRESH_NS
