"""Asking a server how it is, for a few seconds at most, whatever it does: nothing, for one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from daglens.storage.postgres.config import Address
from daglens.storage.records import Health

PATIENCE_S = 5.0


class HealthCheck:
    """Runs a check in a thread of its own. While one gets no answer, the next ones wait for the same, so one hangs."""

    def __init__(self, address: Address, check: Callable[[], Health]) -> None:
        """`check` asks the server; it never raises."""
        self._address = address
        self._check = check
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def __call__(self) -> Health:
        """The answer, or that none came in time."""
        with self._lock:
            running = self._running
            if running is None or running.answer is not None:
                running = _Running(self._check)
                try:
                    running.start()
                except RuntimeError as error:
                    return Health(False, f"{self._address} was not asked: {error}. Allow this process more threads.")
                self._running = running
        running.join(PATIENCE_S)
        if running.answer is None:
            return Health(False, f"{self._address} did not answer within {PATIENCE_S:g} s.")
        return running.answer


class _Running(threading.Thread):
    def __init__(self, check: Callable[[], Health]) -> None:
        super().__init__(name="daglens-postgres-health", daemon=True)
        self._check = check
        self.answer: Health | None = None

    def run(self) -> None:
        self.answer = self._check()
