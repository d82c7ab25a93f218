"""Captured output on its way to the server: read from where it was sent to, a piece at a time.

The files are the buffer. What the server has is given back to the disk while a step still writes; where there is no
room, a log ends, which its last line and an event say.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daglens.recorder.capture import process_capture
from daglens.recorder.remote.connection import InputRefused
from daglens.recorder.remote.operations import Server
from daglens.recorder.remote.spool_files import LogSent, Sent, SpoolFiles
from daglens.storage.errors import LogGap
from daglens.storage.log_files import mark_name
from daglens.storage.records import LogFile

CHUNK_BYTES: Final = 256 * 1024
FREE_BYTES: Final = 8 * 1024 * 1024
"""What the server has is given back to the disk in pieces of at least this size."""

_PAGE_BYTES: Final = 4096
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


class LogDelivery:
    """The logs of one spool."""

    def __init__(
        self, files: SpoolFiles, run_id: str, sent: Sent, server: Server, note: Callable[[str, str], None]
    ) -> None:
        """`note` tells of a loss: a key that names it and a sentence."""
        self._run_id = run_id
        self._sent = sent
        self._server = server
        self._note = note
        self._storage = files.logs

    def waiting(self) -> list[LogFile]:
        """Logs that have something to send, or are sent and can be removed; by step key."""
        return [log for log in self._listed() if self._is_waiting(log)]

    def send(self) -> bool:
        """Send a piece of each log that has grown or ended; False when there is none."""
        waiting = self.waiting()
        for log in waiting:
            self._send(log)
        return bool(waiting)

    def cut_here(self) -> list[str]:
        """There is no room: keep nothing beyond the present end of logs that still grow; their names. What has come
        since is given back to the disk."""
        names = []
        for log in self._listed():
            if log.complete:
                continue
            state = self._state(log)
            if state.cut is None and log.size_bytes > 0:
                state.cut = log.size_bytes
                state.freed = max(state.freed, 0)
                names.append(f"{log.io.value} of {log.key.step_key}")
        return names

    def free_cut(self) -> None:
        """Give back to the disk what has come to logs since they were cut."""
        for log in self._listed():
            state = self._state(log)
            if state.cut is not None and log.size_bytes > state.cut:
                _free(log.location, state.cut, log.size_bytes)

    def _listed(self) -> list[LogFile]:
        return list(self._storage.list([self._run_id])[self._run_id])

    def _state(self, log: LogFile) -> LogSent:
        return self._sent.logs.setdefault(Path(log.location).name, LogSent())

    def _is_waiting(self, log: LogFile) -> bool:
        state = self._sent.logs.get(Path(log.location).name, LogSent())
        end = log.size_bytes if state.cut is None else min(state.cut, log.size_bytes)
        return log.complete or (not state.refused and state.bytes < end)

    def _send(self, log: LogFile) -> None:
        state = self._state(log)
        if not state.refused:
            try:
                done = self._send_piece(log, state)
            except InputRefused as error:
                state.refused = done = True
                self._note(
                    f"log-{Path(log.location).name}-{log.key.attempt}",
                    f"{log.io.value} of {log.key.step_key}, attempt {log.key.attempt}, is not kept: {error}",
                )
            if not done:
                return
        if log.complete:
            self._remove(log)

    def _send_piece(self, log: LogFile, state: LogSent) -> bool:
        """True when the log is there as a whole."""
        end = log.size_bytes if state.cut is None else min(state.cut, log.size_bytes)
        data = self._storage.read(log.key, log.io, state.bytes, min(CHUNK_BYTES, end - state.bytes)).data
        is_last = log.complete and state.bytes + len(data) >= end
        tail = b""
        if is_last and end < log.size_bytes:
            tail = b"\n[daglens: %d bytes are not kept: there was no room for them]\n" % (log.size_bytes - end)
        if is_last and log.truncated:
            self._note(
                f"truncated-{Path(log.location).name}-{log.key.attempt}",
                f"{log.io.value} of {log.key.step_key}, attempt {log.key.attempt}, is not whole: the disk was full.",
            )
        try:
            self._server.append_log(log.key, log.io, state.bytes, data + tail, complete=is_last)
        except LogGap as gap:
            if gap.size_bytes < state.freed or gap.size_bytes >= state.bytes:
                raise InputRefused("The server has lost its beginning.") from None
            state.bytes = gap.size_bytes
            return False
        state.bytes += len(data)
        if not log.complete and state.bytes - state.freed >= FREE_BYTES:
            state.freed = _free(log.location, state.freed, state.bytes)
        return is_last

    def _remove(self, log: LogFile) -> None:
        path = Path(log.location)
        path.unlink(missing_ok=True)
        path.with_name(mark_name(path.name)).unlink(missing_ok=True)
        self._sent.logs.pop(path.name, None)


def _free(path: str, start: int, end: int) -> int:
    """Give whole pages of a file between two places back to the disk, as far as the console has shown them; where the
    room ends now."""
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
    """Linux's fallocate; None where there is none: then a log takes its room until its step has ended."""
    try:
        function = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    function.restype = ctypes.c_int
    return function


_fallocate: Final = _find_fallocate()
