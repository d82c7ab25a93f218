"""Trying a step again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class RetryRequested(Exception):
    """Raised within a step of `attempts` or `call_step`: this attempt failed, try again.

    Attributes:
        max_retries: Tries after the first one that this error allows; the step's own `retries` may allow more.
        wait_s: Pause before the next try, in seconds; None: the step's own.
    """

    def __init__(self, reason: str = "", *, max_retries: int = 1, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.max_retries = max_retries
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a step is tried again after an `Exception`, and with which pause.

    Attributes:
        active: False: never, not even for RetryRequested (a `with run.step(…)`, which nothing can repeat).
        retries: Tries after the first one.
        pause_s: Seconds between tries.
    """

    active: bool = False
    retries: int = 0
    pause_s: float = 0.0

    def wait_s(self, error: BaseException, tried: int) -> float | None:
        """Seconds to wait before the next try; None: there is none. `tried`: tries so far."""
        if not self.active or not isinstance(error, Exception):
            return None
        requested = error if isinstance(error, RetryRequested) else None
        if tried > max(self.retries, requested.max_retries if requested else 0):
            return None
        pause_s = requested.wait_s if requested and requested.wait_s is not None else self.pause_s
        return max(0.0, pause_s)


NO_RETRIES: Final = RetryPolicy()
