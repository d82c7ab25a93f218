"""One log file that a stream is written to while it runs, by descriptor and by text; and how full its disk is."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import threading
from collections.abc import Callable

DEFAULT_RESERVE_BYTES = 64 * 1024 * 1024
"""Free space below which nothing more is captured, so that logs alone never fill a disk."""

ROOMY_BYTES = 1024 * 1024 * 1024
"""Spare space from which on a disk needs no close watch."""

_READ_BYTES = 65_536
FIRST_FREE_DESCRIPTOR = 3


def free_bytes(fd_or_path: int | str) -> int:
    """Free space, for users without privileges, of the file system that holds a descriptor or path."""
    found = os.statvfs(fd_or_path)
    return found.f_bavail * found.f_frsize


def write_all(fd: int, data: bytes | memoryview) -> int:
    """Write everything; how many bytes were written before the first error (all of them when there was none).

    Waits where the descriptor is non-blocking. Never raises OSError: who asks compares the count.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            # Not select(), which takes no descriptor beyond 1,023.
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError:
            break
    return len(data) - len(view)


class CapturedFile:
    """A log file, open for appending.

    Three kinds of writers meet here: whoever holds descriptor 1 or 2 (`fd` is what is put there), text of Python's
    streams (`write`), and the console, which reads it back (`unshown`). Text that the writer has shown already, in a
    notebook or under pytest, is not given to the console a second time: its byte ranges are kept, exactly, because
    `write` has an open file description of its own, whose position after an appending write is the end of that write.
    """

    def __init__(self, path: str, reserve_bytes: int = DEFAULT_RESERVE_BYTES) -> None:
        """Open `path` for appending, made when missing. What it has already is not shown again.

        Raises:
            OSError: It can't be opened.
        """
        self.path = path
        self.reserve_bytes = reserve_bytes
        self.fd = _above_standard(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))
        try:
            self._text_fd = _above_standard(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
        except OSError:
            os.close(self.fd)
            raise
        found = os.fstat(self.fd)
        self.device = found.st_dev
        self.truncated = False
        self.left = False
        self.closed = False
        self.inherited = False
        self._shown_to = found.st_size
        self._shown_ranges: list[tuple[int, int]] = []
        self._lock = threading.RLock()

    @property
    def usable(self) -> bool:
        """Open, and not given up because the disk is full."""
        return not self.closed and not self.truncated

    def write(self, data: bytes, *, shown: bool) -> int:
        """Append; how many bytes were taken. Fewer than given: closed, or the disk is full (then `truncated`).

        `shown`: the console has this text already.
        """
        with self._lock:
            if not self.usable:
                return 0
            # After a fork the description of `_text_fd` is shared, so its position tells nothing any more; the parent
            # shows what its children write.
            if self.inherited or not shown:
                taken = write_all(self.fd, data)
            else:
                taken = write_all(self._text_fd, data)
                end = os.lseek(self._text_fd, 0, os.SEEK_CUR)
                if taken:
                    self._shown_ranges.append((end - taken, end))
            if taken < len(data):
                self.truncated = True
            return taken

    def unshown(self, up_to: int | None = None) -> list[bytes] | None:
        """What came since the last call and is not shown, oldest first, about 64 KiB; None: there is nothing."""
        with self._lock:
            if self.closed:
                return None
            wanted = _READ_BYTES if up_to is None else min(_READ_BYTES, up_to - self._shown_to)
            data = os.pread(self._text_fd, wanted, self._shown_to) if wanted > 0 else b""
            if not data:
                return None
            start, end = self._shown_to, self._shown_to + len(data)
            self._shown_to = end
            pieces: list[bytes] = []
            later: list[tuple[int, int]] = []
            at = start
            for begin, stop in sorted(self._shown_ranges):
                if stop > end:
                    later.append((begin, stop))
                if begin < end:
                    pieces.append(data[at - start : max(begin, at) - start])
                    at = max(at, min(stop, end))
            pieces.append(data[at - start :])
            self._shown_ranges = later
            return [piece for piece in pieces if piece]

    @property
    def shown_bytes(self) -> int:
        """How many of its bytes the console has."""
        return self._shown_to

    def size(self) -> int:
        """Bytes in the file now; what was shown so far when it is closed."""
        with self._lock:
            return self._shown_to if self.closed else os.fstat(self.fd).st_size

    def spare_bytes(self, free: Callable[[int | str], int]) -> int:
        """Free space of its disk beyond the reserve; a disk that can't be asked counts as roomy."""
        with self._lock:
            if self.closed:
                return ROOMY_BYTES
            try:
                return free(self.fd) - self.reserve_bytes
            except OSError:
                return ROOMY_BYTES

    def forked(self) -> None:
        """In a forked child: another thread may have held the lock, and the file is the parent's to show."""
        self._lock = threading.RLock()
        self._shown_ranges.clear()
        self.inherited = True

    def close(self) -> None:
        """Give back the descriptors. May be called twice; a `write` afterwards takes nothing."""
        with self._lock:
            if not self.closed:
                self.closed = True
                os.close(self.fd)
                os.close(self._text_fd)


def _above_standard(fd: int) -> int:
    """The descriptor, moved above 2 where one of the three standard ones happened to be free."""
    if fd >= FIRST_FREE_DESCRIPTOR:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR)
    finally:
        os.close(fd)


def why_not(path: str, reserve_bytes: int, free: Callable[[int | str], int]) -> str | None:
    """A sentence that says why nothing may be captured to `path` now; None: it may."""
    folder = os.path.dirname(path) or "."
    try:
        left = free(folder)
    except OSError as error:
        return f"{folder}: {error.strerror or errno.errorcode.get(error.errno or 0, 'not reachable')}."
    if left >= reserve_bytes:
        return None
    return (
        f"The disk of {folder} has {left // 2**20} MiB free, below the reserve of {reserve_bytes // 2**20} MiB: "
        "output is not captured."
    )
