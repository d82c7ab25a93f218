"""Logs on their way to the store: a folder on this machine for each captured attempt.

    <local_dir>/<run>/<random>/stdout, stderr     what the step writes
    <local_dir>/<run>/<random>/spool.json         whose it is, and how far it is
    <local_dir>/<run>/<random>/lock               held, by flock, by the process whose it is

A folder goes when all of it is in the store. What a killed process leaves behind has a free lock: another process with
the same store and `local_dir` takes it and goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from daglens.storage.names import check_name, file_name
from daglens.storage.records import ComputeIO, LogKey
from daglens.storage.run_folders import replace

_STATE = "spool.json"
_LOCK = "lock"


@dataclass
class SpoolState:
    """What `spool.json` says.

    Attributes:
        location: The store that it is for.
        began_s: When it was begun, in seconds since 1970.
        base: Per stream, the offset in the log at which the file's first byte belongs; none before the store was asked.
        closed: The step has ended; the files don't grow any more.
    """

    run_id: str
    step_key: str
    attempt: int
    location: str
    began_s: float
    base: dict[str, int] = field(default_factory=dict)
    closed: bool = False
    truncated: bool = False


class Spool:
    """One such folder, held by this process."""

    def __init__(self, folder: Path, state: SpoolState, lock_fd: int) -> None:
        """Use `begin` or `take`."""
        self.folder = folder
        self.state = state
        self._lock_fd: int | None = lock_fd
        # The step's end is written down by another thread than the beginning of its upload.
        self._saving = threading.Lock()

    @classmethod
    def begin(cls, local_dir: Path, key: LogKey, location: str) -> Spool:
        """Make a folder with two empty files.

        Raises:
            OSError: It can't be made.
        """
        folder = _run_folder(local_dir, key.run_id) / secrets.token_hex(8)
        folder.mkdir(parents=True)
        lock_fd = _lock(folder)
        assert lock_fd is not None, "nobody else knows this folder"
        spool = cls(folder, SpoolState(key.run_id, key.step_key, key.attempt, location, time.time()), lock_fd)
        try:
            for io in ComputeIO:
                spool.path(io).touch()
            # Last: a folder without it is nobody's yet.
            spool.save()
        except OSError:
            spool.remove()
            raise
        return spool

    @classmethod
    def take(cls, folder: Path, location: str) -> Spool | None:
        """Take what a process left behind that ended before all was uploaded; None: it is not free, or for another
        store."""
        state = read_state(folder)
        if state is None or state.location != location:
            return None
        try:
            lock_fd = _lock(folder)
        except OSError:
            return None
        if lock_fd is None:
            return None
        # Read again: whoever held the lock may have finished meanwhile.
        state = read_state(folder)
        if state is None:
            # The lock was made anew in a folder that was just being removed.
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()
            os.close(lock_fd)
            return None
        return cls(folder, state, lock_fd)

    @property
    def key(self) -> LogKey:
        """Whose log it is."""
        return LogKey(self.state.run_id, self.state.step_key, self.state.attempt)

    def path(self, io: ComputeIO) -> Path:
        """The file of a stream."""
        return self.folder / io.value

    def size(self, io: ComputeIO) -> int:
        """How much the step has written.

        Raises:
            OSError: The file can't be asked.
        """
        return os.stat(self.path(io)).st_size

    def read(self, io: ComputeIO, start: int, size_bytes: int) -> bytes:
        """Bytes of a stream's file; fewer only at its end.

        Raises:
            OSError: They can't be read.
        """
        with open(self.path(io), "rb") as file:
            file.seek(start)
            return file.read(size_bytes)

    def save(self) -> None:
        """Write down the state.

        Raises:
            OSError: It can't be written.
        """
        with self._saving:
            replace(self.folder / _STATE, json.dumps(asdict(self.state)))

    def release(self) -> None:
        """Let another process have it. May be called twice."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def remove(self) -> None:
        """Remove the folder: all of it is in the store, or nobody wants it any more."""
        with suppress(OSError):
            (self.folder / _STATE).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()
        self.release()


def folders(local_dir: Path, run_id: str | None = None) -> Iterator[Path]:
    """Folders of one run, or of all, whoever holds them. None where nothing can be read."""
    runs = [local_dir / name for name in _names(local_dir)] if run_id is None else [_run_folder(local_dir, run_id)]
    for run in runs:
        for name in _names(run):
            yield run / name


def is_free(folder: Path, location: str) -> bool:
    """Whether `Spool.take` would take it, just now."""
    spool = Spool.take(folder, location)
    if spool is None:
        return False
    spool.release()
    return True


def read_state(folder: Path) -> SpoolState | None:
    """What `spool.json` of a folder says; None: it is not there, or not ours."""
    try:
        found: Any = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        state = SpoolState(**found)
    except (OSError, ValueError, TypeError):
        return None
    texts = (state.run_id, state.step_key, state.location)
    if not all(isinstance(text, str) for text in texts) or not isinstance(state.base, dict):
        return None
    numbers = (state.attempt, *state.base.values())
    return state if all(type(number) is int for number in numbers) and isinstance(state.began_s, int | float) else None


def _run_folder(local_dir: Path, run_id: str) -> Path:
    return local_dir / file_name(check_name(run_id, "run id"))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock; None: somebody else does."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd
