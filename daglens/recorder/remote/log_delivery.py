"""Captured output on its way to the server: read from where it was sent to, a piece at a time.

The files are the buffer. What the server has is given back to the disk while a step still writes; where there is no
room, a log ends, which its last line and an event say.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from daglens.recorder.remote.connection import InputRefused
from daglens.recorder.remote.freeing import free
from daglens.recorder.remote.operations import Server
from daglens.recorder.remote.spool_files import LogSent, Sent, SpoolFiles, cut_of, cut_path, kept_bytes
from daglens.storage.errors import LogGap
from daglens.storage.log_files import mark_name
from daglens.storage.records import LogFile

CHUNK_BYTES: Final = 256 * 1024
FREE_BYTES: Final = 8 * 1024 * 1024
"""What the server has is given back to the disk in pieces of at least this size."""


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

    def _listed(self) -> list[LogFile]:
        return list(self._storage.list([self._run_id])[self._run_id])

    def _state(self, log: LogFile) -> LogSent:
        return self._sent.logs.setdefault(Path(log.location).name, LogSent())

    def _is_waiting(self, log: LogFile) -> bool:
        state = self._sent.logs.get(Path(log.location).name, LogSent())
        return log.complete or (not state.refused and state.bytes < kept_bytes(log))

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
        # It may have been cut behind what is sent already.
        end = max(state.bytes, kept_bytes(log))
        data = self._storage.read(log.key, log.io, state.bytes, min(CHUNK_BYTES, end - state.bytes)).data
        cut = cut_of(log.location)
        if cut is not None:
            # Perhaps only since then: what was read behind it are the zeros of what is given back to the disk.
            end = max(state.bytes, min(cut, end))
            data = data[: end - state.bytes]
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
            state.freed = free(log.location, state.freed, state.bytes)
        return is_last

    def _remove(self, log: LogFile) -> None:
        path = Path(log.location)
        path.unlink(missing_ok=True)
        path.with_name(mark_name(path.name)).unlink(missing_ok=True)
        Path(cut_path(log.location)).unlink(missing_ok=True)
        self._sent.logs.pop(path.name, None)
