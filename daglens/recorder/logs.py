"""Log messages as events: `run.log` and `step.log`, and a handler for the program's own loggers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from daglens.recorder.drafts import level_of
from daglens.storage.records import LogLevel

Emit = Callable[[str, LogLevel, str], None]
"""Takes logger name, level and message."""


class EventLogger(logging.Logger):
    """A `logging.Logger` whose messages become events of a run and go nowhere else."""

    def __init__(self, name: str, emit: Emit) -> None:
        super().__init__(name, logging.DEBUG)
        self.propagate = False
        self.addHandler(EventHandler(emit, own=True))


class EventHandler(logging.Handler):
    """Makes an event of each record, with its traceback if it has one.

    Records of daglens itself are left out: what goes wrong with the recording can't be told by recording.
    """

    def __init__(self, emit: Emit, level: int = logging.NOTSET, *, own: bool = False) -> None:
        """`own`: it belongs to an EventLogger, so nothing is left out."""
        super().__init__(level)
        self._emit = emit
        self._own = own
        self._within = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        is_daglens = not self._own and record.name.split(".", 1)[0] == "daglens"
        if is_daglens or getattr(self._within, "on", False):
            return
        self._within.on = True
        try:
            self._emit(record.name, level_of(record.levelno), self.format(record))
        except Exception:
            self.handleError(record)
        finally:
            self._within.on = False
