"""Giving room back to the disk within a file that is still written to."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

from daglens.recorder.capture import process_capture

_PAGE_BYTES: Final = 4096
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


def free(path: str, start: int, end: int) -> int:
    """Give whole pages of a file between two places back to the disk, as far as the console has shown them; where the
    freed part ends. Where the file system can't, `start`: then the file takes its room until it is removed."""
    shown = process_capture.console.shown_to(path)
    if shown is not None:
        end = min(end, shown)
    first, last = -(-start // _PAGE_BYTES) * _PAGE_BYTES, end // _PAGE_BYTES * _PAGE_BYTES
    if last <= first or _fallocate is None:
        return start
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return start
    try:
        freed = _fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, first, last - first) == 0
    finally:
        os.close(fd)
    return last if freed else start


def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    """Linux's fallocate; None where there is none."""
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    function.restype = ctypes.c_int
    return function


_fallocate: Final = _find_fallocate()
