"""Writing to a spool: what is recorded, within the room there is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from daglens.recorder.problems import Problems
from daglens.recorder.refused import is_needed
from daglens.recorder.remote.operations import rfc3339
from daglens.recorder.remote.records import EVENT, TAGS, engine_event, event_json, framed, tags_json
from daglens.recorder.remote.spool_files import About
from daglens.recorder.remote.spool_folder import SpoolFolder, SpoolRoom
from daglens.storage.drafts import now_us, prepare
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft

SEGMENT_BYTES: Final = 4 * 1024 * 1024
OVERDRAFT_BYTES: Final = 16 * 1024 * 1024
"""Where there is no room, events that say where a run or a step stands are still kept, up to so much beyond it."""


class Outbox:
    """What one process records of one run. Its methods may be called from any thread.

    Attributes:
        files: The spool.
        room: What is left for it and its siblings.
    """

    def __init__(
        self,
        folder: SpoolFolder,
        about: About,
        problems: Problems,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        overdraft_bytes: int = OVERDRAFT_BYTES,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the spool.

        Args:
            on_news: Called when there is more to send.

        Raises:
            OSError: It can't be made.
        """
        self.files: Final = folder.make(about)
        self.about = about
        self.room: Final = SpoolRoom(folder, about.url)
        self._problems = problems
        self._segment_bytes = segment_bytes
        self._overdraft_bytes = overdraft_bytes
        self._on_news = on_news
        self._lock = threading.Lock()
        self._number = 0
        self._size = 0
        self._fd: int | None = None
        self._dropped = 0
        self._overdrawn_bytes = 0
        self._is_cut = False
        self._has_unsynced = False
        self._has_unsynced_about = True
        self._is_closed = False

    # ------------------------------------------------------------ what is recorded

    def describe(self, *, create: dict[str, Any]) -> None:
        """Say how the run is created.

        Raises:
            StorageUnavailable: The disk doesn't take it.
        """
        with self._lock:
            self._describe(replace(self.about, create=create))
        self._on_news()

    def set_heartbeat(self, timeout_s: int) -> None:
        """The run has heartbeats; whoever sends this spool after our death must know. Raises as `describe`."""
        with self._lock:
            if self.about.heartbeat_timeout_s != timeout_s:
                self._describe(replace(self.about, heartbeat_timeout_s=timeout_s))
        self._on_news()

    def _describe(self, about: About) -> None:
        if self._is_closed:
            return  # it may be another process's by now, or gone
        self._guarded(lambda: self.files.write_about(about))
        self.about = about
        self._has_unsynced_about = True

    def append(self, drafts: Sequence[EventDraft]) -> None:
        """Keep events, in order. Without room only those that say where a run or a step stands; the others are
        counted, and the run's log says so.

        Raises:
            EventTooLarge, InvalidName: As a storage; nothing was kept.
            StorageUnavailable: The disk doesn't take all of it. Keep them again: by their ids each is stored once.
        """
        prepared = prepare(drafts, now_us())
        lines = [framed(EVENT, event_json(event)) for event in prepared]
        with self._lock:
            left = self.room.left_bytes()
            if left >= sum(map(len, lines)):
                self._end_cut(left)
                self._write(lines)
            else:
                self._write_needed(drafts, lines)
        self._on_news()

    def add_tags(self, tags: Sequence[tuple[str, str]]) -> None:
        """Keep tags. Raises as `append`."""
        with self._lock:
            self._write([framed(TAGS, tags_json(tags))])
        self._on_news()

    def note(self, message: str) -> None:
        """Tell of a loss in the run's log, room or not."""
        with self._lock, contextlib.suppress(StorageUnavailable):
            self._write([self._engine_event(message)])
        self._on_news()

    # ------------------------------------------------------------ room

    def _write_needed(self, drafts: Sequence[EventDraft], lines: Sequence[bytes]) -> None:
        kept = []
        overdrawn = self._overdrawn_bytes
        for draft, line in zip(drafts, lines, strict=True):
            if is_needed(draft) and overdrawn + len(line) <= self._overdraft_bytes:
                overdrawn += len(line)
                kept.append(line)
        dropped = len(lines) - len(kept)
        if dropped and not self._is_cut:
            self._is_cut = True
            message = "There is no room in the spool: from here on events are dropped."
            self._problems.say("spool", f"{message} {self.room.why_full}")
            kept.insert(0, self._engine_event(message))
        self._write(kept)
        self._overdrawn_bytes = overdrawn
        self._dropped += dropped

    def _end_cut(self, left: int) -> None:
        # Not for a moment's room, which the next batch would use up.
        if self._is_cut and left > self._overdraft_bytes:
            self._is_cut, self._overdrawn_bytes = False, 0
        if self._dropped and not self._is_cut:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        self._write([self._engine_event(f"{self._dropped} events were dropped: there was no room in the spool.")])
        self._dropped = 0

    def _engine_event(self, message: str) -> bytes:
        return framed(EVENT, engine_event(uuid4().hex, message, rfc3339(now_us())))

    # ------------------------------------------------------------ the file

    def _write(self, lines: Sequence[bytes]) -> None:
        data = b"".join(lines)
        if data:
            self._guarded(lambda: self._append(data))

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except OSError as error:
            raise StorageUnavailable(f"The spool {self.files.path}: {error.strerror or error}.") from error

    def _append(self, data: bytes) -> None:
        if self._fd is None or self._size >= self._segment_bytes:
            self._begin_segment()
        assert self._fd is not None
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            if len(view) < len(data):
                # Half a line would hide the whole one that follows it. It can't be cut off: the sender may have read
                # what comes before it, and would go on in the middle of what is written there next.
                self._close_segment()
            raise
        self._size += len(data)
        self._has_unsynced = True
        self.room.take(len(data))

    def _begin_segment(self) -> None:
        self._close_segment()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self.files.segment(self._number + 1), flags, 0o600)
        self._number += 1
        self._size = 0

    def _close_segment(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def sync(self) -> None:
        """Bring what was written through a power cut. For while the server is away; else the spool is soon empty."""
        with self._lock, contextlib.suppress(OSError):
            if self._fd is not None and self._has_unsynced:
                self._has_unsynced = False
                os.fdatasync(self._fd)
            if self._has_unsynced_about:
                self._has_unsynced_about = False
                self.files.sync_about()

    def close(self) -> None:
        """Write how much was dropped, and nothing any more. The lock stays."""
        with self._lock:
            if self._dropped:
                with contextlib.suppress(StorageUnavailable):
                    self._tell_dropped()
            self._close_segment()
            self._is_closed = True

    def forget(self) -> None:
        """In a forked child: the spool is the parent's."""
        self._close_segment()
        self.files.release()
