"""Two threads of a process that captures: one shows on the console what the files receive, one watches the disk.

Two, because a console that nobody reads holds up the first, and the disk must be watched all the more then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from daglens.recorder.capture_file import FIRST_FREE_DESCRIPTOR, ROOMY_BYTES, CapturedFile, write_all

POLL_S = 0.02
CLOSE_WATCH_S = 0.002


class Ticker:
    """Calls a function from a daemon thread, as long as there is something to do; the function says after how many
    seconds again."""

    def __init__(self, name: str, tick: Callable[[], float], has_work: Callable[[], bool]) -> None:
        self._name = name
        self._tick = tick
        self._has_work = has_work
        self._lock = threading.Lock()
        self._running = False

    def wake(self) -> None:
        """Start the thread when it isn't running."""
        with self._lock:
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down, or there are too many threads
            self._running = False

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            pause_s = POLL_S
            with contextlib.suppress(OSError):
                pause_s = self._tick()
            # With thousands of files a round takes longer than the pause: leave most of the time to the pipeline.
            time.sleep(max(pause_s, 5 * (time.monotonic() - began)))
            with self._lock:
                if not self._has_work():
                    self._running = False
                    return


def watch_pause_s(spare_bytes: int) -> float:
    """How soon to look at a disk again: a fast writer fills what little is left within milliseconds."""
    return POLL_S if spare_bytes >= ROOMY_BYTES else CLOSE_WATCH_S


@dataclass(frozen=True, slots=True)
class _Followed:
    console_fd: int
    lock: threading.Lock = field(default_factory=threading.Lock)


class Console:
    """Shows what captured files receive, each on its descriptor, reading each file from where it stopped."""

    def __init__(self) -> None:
        self._followed: dict[CapturedFile, _Followed] = {}
        self._ticker = Ticker("daglens-console", self._tick, lambda: bool(self._followed))

    def follow(self, file: CapturedFile, console_fd: int) -> None:
        """Show what `file` receives from now on, on a copy of `console_fd`."""
        copy = fcntl.fcntl(console_fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR)
        self._followed[file] = _Followed(copy)
        self._ticker.wake()

    def finish(self, file: CapturedFile) -> None:
        """Show the rest, up to the present end, and forget the file. Waits for a console that is slow, as the program
        would without capture."""
        found = self._followed.get(file)
        if found is not None:
            with found.lock:
                self._show(file, found.console_fd)
                self._forget(file)

    def catch_up(self, file: CapturedFile) -> None:
        """Show what there is, so that what the caller shows next comes after it."""
        found = self._followed.get(file)
        if found is not None:
            with found.lock:
                if file in self._followed:
                    self._show(file, found.console_fd)

    def shown_to(self, path: str) -> int | None:
        """How many bytes of a file the console has; None: it isn't shown."""
        return next((file.shown_bytes for file in list(self._followed) if file.path == path), None)

    def forked(self) -> None:
        """In a forked child: the parent goes on showing its own files."""
        self.__init__()  # type: ignore[misc]

    def _tick(self) -> float:
        for file, found in list(self._followed.items()):
            with found.lock:
                if file in self._followed and not self._show(file, found.console_fd):
                    self._forget(file)
        return POLL_S

    def _show(self, file: CapturedFile, console_fd: int) -> bool:
        """Show what there is now, not what comes meanwhile; False: the console is gone (the log goes on)."""
        up_to = file.size()
        while (pieces := file.unshown(up_to)) is not None:
            for piece in pieces:
                if write_all(console_fd, piece) < len(piece):
                    return False
        return True

    def _forget(self, file: CapturedFile) -> None:
        found = self._followed.pop(file, None)
        if found is not None:
            os.close(found.console_fd)
