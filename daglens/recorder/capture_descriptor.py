"""Descriptors 1 and 2: pointing them at a log file and back, and what must be flushed before."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import sys
from collections.abc import Iterable

from daglens.recorder.capture_file import FIRST_FREE_DESCRIPTOR, CapturedFile, write_all


class StandardDescriptor:
    """Descriptor 1 or 2 of this process.

    It is *taken* from the first `point_at` to `release`. While it is taken, `console_fd` is a copy of what stood there
    before, to show on what is captured.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.console_fd: int | None = None
        self._base_fd: int | None = None
        self._placed: tuple[int, int] | None = None
        self._keeps_console = False

    @property
    def taken(self) -> bool:
        """True while it points where we put it."""
        return self._base_fd is not None

    def ensure_open(self) -> None:
        """Put /dev/null there when it is closed: else the next file to be opened, a log perhaps, would become it."""
        try:
            os.fstat(self.number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != self.number:
                os.dup2(null, self.number)
                os.close(null)

    def point_at(self, file: CapturedFile | None, *, retake: bool = True) -> None:
        """Point it at a file; None: at what stood there before.

        Somebody else may have pointed it elsewhere meanwhile: with `retake` that is then what stood there before,
        without it is left alone.
        """
        if self._base_fd is None or not self._is_where_we_put_it():
            if self._base_fd is not None and not retake:
                return
            self._take()
        assert self._base_fd is not None
        os.dup2(self._base_fd if file is None else file.fd, self.number)
        self._placed = _identity(self.number)

    def release(self) -> None:
        """Point it at what stood there before, unless somebody else has pointed it elsewhere meanwhile (pytest does
        between the phases of a test)."""
        if self._base_fd is None:
            return
        if self._is_where_we_put_it():
            os.dup2(self._base_fd, self.number)
        os.close(self._base_fd)
        self._base_fd = self._placed = None
        if self.console_fd is not None and not self._keeps_console:
            os.close(self.console_fd)
            self.console_fd = None

    def forked(self) -> None:
        """In a forked child: what stands there now is what this process goes back to; the console stays the same."""
        if self._base_fd is not None:
            os.close(self._base_fd)
            self._base_fd = self._placed = None
            self._keeps_console = True

    def show(self, data: bytes) -> None:
        """Write to the console, past any capture. A console that is gone is nobody's error."""
        write_all(self.number if self.console_fd is None else self.console_fd, data)

    def _take(self) -> None:
        if self._base_fd is not None:
            os.close(self._base_fd)
        self._base_fd = _copy(self.number)
        if self.console_fd is None:
            self.console_fd = _copy(self.number)

    def _is_where_we_put_it(self) -> bool:
        try:
            return _identity(self.number) == self._placed
        except OSError:
            return False


def _copy(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


class LineBuffering:
    """Python's own streams on descriptors 1 and 2, line-buffered while capture goes on.

    Onto a file they would hold back up to 8 KiB: lost by `kill -9`, and out of order with what children print.
    """

    def __init__(self) -> None:
        self._changed: list[io.TextIOWrapper] = []

    def begin(self) -> None:
        """Switch it on for the streams that there are now."""
        for stream in standard_streams():
            if not stream.line_buffering:
                with contextlib.suppress(ValueError, OSError):
                    stream.reconfigure(line_buffering=True)
                    self._changed.append(stream)

    def end(self) -> None:
        """Switch it off where it was off."""
        for stream in self._changed:
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(line_buffering=False)
        self._changed.clear()


def standard_streams() -> Iterable[io.TextIOWrapper]:
    """Python's text streams that write to descriptor 1 or 2, each once; also those behind a router."""
    found: list[io.TextIOWrapper] = []
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        inner = stream
        while (below := getattr(inner, "routed", None)) is not None:
            inner = below
        if isinstance(inner, io.TextIOWrapper) and is_standard(inner) and not any(inner is one for one in found):
            found.append(inner)
    return found


def is_standard(stream: object) -> bool:
    """True for a stream whose descriptor is 1 or 2."""
    try:
        return stream.fileno() in (1, 2)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False


def flush_standard_streams() -> None:
    """Write out what Python's streams and C's stdout hold, before their descriptors are pointed elsewhere."""
    for stream in standard_streams():
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    _flush_c_stdout()


_c_flush: tuple[object, object] | bool | None = None


def _flush_c_stdout() -> None:
    # Only stdout: fflush(NULL) would wait for a thread that sits in a read of C's stdin. C's stderr has no buffer.
    global _c_flush
    if _c_flush is None:
        try:
            import ctypes

            library = ctypes.CDLL(None)
            _c_flush = (library.fflush, ctypes.c_void_p.in_dll(library, "stdout"))
        except (ImportError, OSError, ValueError, AttributeError):
            _c_flush = False
    if isinstance(_c_flush, tuple):
        flush, stream = _c_flush
        flush(stream)  # type: ignore[operator]
