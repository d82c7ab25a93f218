"""What an exception, or none, says of how a run or a step ended."""

from __future__ import annotations

import sys
from enum import Enum, auto


class Ending(Enum):
    """How something ended."""

    SUCCESS = auto()
    FAILURE = auto()
    CANCELED = auto()


def ending_of(error: BaseException | None) -> Ending:
    """`sys.exit()` with 0 or nothing is a success; Ctrl-C, a termination and a cancelled task are CANCELED."""
    if error is None:
        return Ending.SUCCESS
    if isinstance(error, SystemExit):
        return Ending.SUCCESS if error.code in (None, 0) else Ending.FAILURE
    if isinstance(error, KeyboardInterrupt):
        return Ending.CANCELED
    # Only who has imported asyncio can have been cancelled by it.
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return Ending.CANCELED
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ExceptionGroup):
        # A task group that Ctrl-C ended.
        return Ending.CANCELED if any(ending_of(e) is Ending.CANCELED for e in error.exceptions) else Ending.FAILURE
    return Ending.FAILURE


class StepProcessDied(RuntimeError):
    """The process of an isolated step ended without a result.

    Attributes:
        exit_code: Its exit code; None when a signal ended it.
        signal: Number of the signal that ended it, or None.
    """

    def __init__(self, message: str, exit_code: int | None = None, signal: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.signal = signal


class StepProcessError(RuntimeError):
    """An exception of an isolated step that can't be carried to this process; its class and message are in the text."""
