"""Ends statements that read for too long."""

from __future__ import annotations

import sqlite3
import time

_STEPS = 20_000
"""SQLite's virtual machine is asked again after so many of its steps: a fifth of a millisecond."""


class TimeLimit:
    """A block in which a connection's statements take so long together at most; then one raises SQLITE_INTERRUPT.

    Time that a statement waits for a lock is not counted here: that is `busy_timeout_s`.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float) -> None:
        """`seconds` 0: without limit."""
        self._connection = connection
        self._seconds = seconds

    def __enter__(self) -> None:
        """See TimeLimit."""
        if self._seconds:
            ends_at = time.monotonic() + self._seconds
            now = time.monotonic
            self._connection.set_progress_handler(lambda: now() > ends_at, _STEPS)

    def __exit__(self, *raised: object) -> None:
        """See TimeLimit."""
        if self._seconds:
            self._connection.set_progress_handler(None, 0)
