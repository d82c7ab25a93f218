"""Keeps captured output within the room there is: where there is none, the largest log is cut.

What comes to a log after it was cut is given back to the disk, whoever writes it: a child process that holds the file
can't be moved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

from daglens.recorder.capture_console import Ticker
from daglens.recorder.remote.freeing import free
from daglens.recorder.remote.spool_files import SpoolFiles, cut_of, cut_path
from daglens.recorder.remote.spool_folder import SpoolRoom
from daglens.storage.records import LogFile

WATCH_EVERY_S: Final = 0.5
WATCH_CLOSELY_EVERY_S: Final = 0.05
WORTHWHILE_BYTES: Final = 64 * 1024
"""A log that takes less is not cut: little would be won."""
AMPLE_BYTES: Final = 256 * 1024 * 1024
"""Room from which on no close watch is needed."""


class LogRoom:
    """Watches the logs of one spool, from a thread of its own, while any of them is open."""

    def __init__(self, files: SpoolFiles, run_id: str, room: SpoolRoom, tell: Callable[[str], None]) -> None:
        """`tell` gets a sentence when a log is cut."""
        self._run_id = run_id
        self._room = room
        self._tell = tell
        self._storage = files.logs
        self._ended = False
        self._has_cut = False
        self._ticker = Ticker("daglens-room", self._look, lambda: not self._ended and bool(self._growing()))

    def watch(self) -> None:
        """A log was opened."""
        self._ticker.wake()

    def end(self) -> None:
        """Watch no more."""
        self._ended = True

    def _growing(self) -> list[LogFile]:
        with contextlib.suppress(Exception):
            return [log for log in self._storage.list([self._run_id])[self._run_id] if not log.complete]
        return []

    def _look(self) -> float:
        self._free_cut()
        left = self._room.measure()
        if left <= 0:
            self._cut_largest(-left)
        return WATCH_EVERY_S if left > AMPLE_BYTES else WATCH_CLOSELY_EVERY_S

    def _free_cut(self) -> None:
        for log in self._growing() if self._has_cut else ():
            cut = cut_of(log.location)
            if cut is not None and log.size_bytes > cut:
                free(log.location, cut, log.size_bytes)

    def _cut_largest(self, excess_bytes: int) -> None:
        sizes = {log: os.stat(log.location).st_blocks * 512 for log in self._growing() if cut_of(log.location) is None}
        log = max(sizes, key=lambda log: sizes[log], default=None)
        if log is None or sizes[log] < WORTHWHILE_BYTES:
            return
        self._has_cut = True
        temporary = f"{cut_path(log.location)}.new"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(max(0, log.size_bytes - excess_bytes)))
        os.replace(temporary, cut_path(log.location))
        self._free_cut()
        self._tell(f"There is no room in the spool: {log.io.value} of {log.key.step_key} is kept no further.")
