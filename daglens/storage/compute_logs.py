"""Compute logs in local files, and none at all."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.contract import ComputeLogManager, LogCapture, NoConfig
from daglens.storage.errors import InvalidName, LogClosed, LogGap, LogUnavailable
from daglens.storage.log_files import (
    TRUNCATED,
    LatestAttempts,
    Mark,
    listed,
    log_name,
    mark_name,
    read_mark,
    step_key_file,
)
from daglens.storage.log_places import LogPlace, LogPlaceKind
from daglens.storage.names import check_name, file_name
from daglens.storage.records import ComputeIO, Health, LogBytes, LogFile, LogKey, LogUnavailableReason
from daglens.storage.run_folders import RunFolders, base_folder, replace, unavailable, write_once


@dataclass(frozen=True, slots=True)
class LocalComputeLogConfig:
    """Configuration of LocalComputeLogManager.

    Attributes:
        base_dir: The folder that holds a folder per run. Default: `storage` in the instance's folder.
    """

    base_dir: str | None = None


class LocalComputeLogManager(ComputeLogManager):
    """Logs in files `<base_dir>/<run>/compute_logs/<step>.<out|err>` (log_files.py), written while the step runs.

    Every process that sees the folder reads the same logs; appends of several processes are one after the other.
    """

    Config: ClassVar[type[Any]] = LocalComputeLogConfig

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        """`base_dir` is made when the first log is."""
        self._folders = RunFolders(Path(base_dir), "compute_logs")
        self._latest_attempts = LatestAttempts()

    @classmethod
    def from_config(cls, config: LocalComputeLogConfig, home: Path) -> Self:
        """As configured, below the instance's folder."""
        return cls(base_folder(config.base_dir, home))

    @property
    def place(self) -> LogPlace:
        """The folder, as this machine calls it."""
        return LogPlace(LogPlaceKind.DISK, os.path.abspath(self._folders.base))

    def capture(self, key: LogKey) -> LogCapture:
        """See ComputeLogManager.

        Raises:
            LogClosed: This attempt was captured before and is complete.
        """
        folder = self._make(key)
        for io in ComputeIO:
            if read_mark(folder, key, io).complete:
                raise LogClosed(f"Step {key.step_key}, attempt {key.attempt}.")
        try:
            for io in ComputeIO:
                os.close(_open(folder / log_name(key, io), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        except OSError as error:
            raise unavailable(error) from error
        return _LocalCapture(self, key, folder)

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        """See ComputeLogManager. What is acknowledged survives the process, not a power cut."""
        if offset < 0:
            raise ValueError(f"An offset is 0 or more, not {offset}.")
        path = self._path(key, io)
        if offset > 0 and not path.exists():
            raise LogGap(0)
        folder = self._make(key)
        with _locked(path) as fd:
            size = os.fstat(fd).st_size
            if offset > size:
                raise LogGap(size)
            new = memoryview(data)[size - offset :]
            closed = read_mark(folder, key, io).complete
            if new and closed:
                raise LogClosed(f"It has {size} bytes.")
            while new:
                written = os.write(fd, new)
                size += written
                new = new[written:]
            if complete and not closed:
                replace(folder / mark_name(path.name), "")
            return size

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        """See ComputeLogManager."""
        if start < 0:
            raise ValueError(f"A log begins at byte 0, not {start}.")
        try:
            path = self._path(key, io)
        except InvalidName as error:
            raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED, str(error)) from error
        try:
            # The mark first: a stream that was closed before its bytes were read is read to its end.
            mark = read_mark(path.parent, key, io)
            fd = _open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED) from error
        except PermissionError as error:
            raise LogUnavailable(LogUnavailableReason.FORBIDDEN, f"Not readable for this server: {path}.") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                # A symbolic link is none of ours, as in a listing; it would never be followed.
                raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED) from error
            raise unavailable(error) from error
        try:
            size = os.fstat(fd).st_size
            data = _read(fd, start, min(max_bytes, size - start))
        except OSError as error:
            raise unavailable(error) from error
        finally:
            os.close(fd)
        return LogBytes(data, size, *mark)

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        """See ComputeLogManager."""
        found: dict[str, Sequence[LogFile]] = {}
        for run_id in run_ids:
            try:
                found[run_id] = listed(run_id, self._folders.path(run_id))
            except InvalidName:
                found[run_id] = []
            except OSError as error:
                raise unavailable(error) from error
        return found

    def latest_attempt(self, run_id: str, step_key: str) -> int:
        """See ComputeLogManager."""
        try:
            folder, step_name = self._folders.path(run_id), file_name(check_name(step_key, "step key"))
        except InvalidName:
            return 0
        try:
            return self._latest_attempts.of(os.fspath(folder)).get(step_name, 0)
        except OSError as error:
            raise unavailable(error) from error

    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        """See ComputeLogManager. A stream that has no file gets an empty one; `truncated` is never taken back."""
        folder = self._make(key)
        with _locked(self._path(key, io)):
            self._mark(folder, key, io, truncated)

    def delete(self, run_id: str) -> int:
        """See ComputeLogManager."""
        try:
            return self._folders.remove(run_id)
        except InvalidName:
            return 0

    def health(self) -> Health:
        """Whether logs can be written."""
        return self._folders.health()

    def close_captured(self, key: LogKey, truncated: bool) -> None:
        """Close both streams of a captured attempt, unless the run was deleted meanwhile.

        Raises:
            StorageUnavailable: The marks can't be written.
        """
        folder = self._folders.path(key.run_id)
        for io in ComputeIO:
            if (folder / log_name(key, io)).exists():
                try:
                    self._mark(folder, key, io, truncated)
                except FileNotFoundError:
                    continue  # deleted meanwhile
                except OSError as error:
                    raise unavailable(error) from error

    def _mark(self, folder: Path, key: LogKey, io: ComputeIO, truncated: bool) -> None:
        wanted = Mark(True, truncated)
        there = read_mark(folder, key, io)
        if there != wanted and there != Mark(True, True):
            replace(folder / mark_name(log_name(key, io)), TRUNCATED if truncated else "")

    def _path(self, key: LogKey, io: ComputeIO) -> Path:
        return self._folders.path(key.run_id) / log_name(key, io)

    def _make(self, key: LogKey) -> Path:
        """The run's folder, with the step's key in it where a file name can't tell it."""
        name = step_key_file(key)
        log_name(key, ComputeIO.STDOUT)
        folder = self._folders.make(key.run_id)
        if name is not None:
            try:
                write_once(folder / name, key.step_key)
            except OSError as error:
                raise unavailable(error) from error
        return folder


class _LocalCapture:
    def __init__(self, manager: LocalComputeLogManager, key: LogKey, folder: Path) -> None:
        self.stdout_path = folder / log_name(key, ComputeIO.STDOUT)
        self.stderr_path = folder / log_name(key, ComputeIO.STDERR)
        self._manager = manager
        self._key = key

    def close(self, *, truncated: bool = False) -> None:
        """See LogCapture."""
        self._manager.close_captured(self._key, truncated)


class NoOpComputeLogManager(ComputeLogManager):
    """Keeps no logs: capture gives None, what is appended is dropped, and every read says NOT_CAPTURED."""

    Config: ClassVar[type[Any]] = NoConfig

    @classmethod
    def from_config(cls, config: NoConfig, home: Path) -> Self:
        """There is nothing to configure."""
        return cls()

    def capture(self, key: LogKey) -> LogCapture | None:
        """None: nothing is captured."""
        return None

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        """Drops the bytes; answers as if they were kept, so that a writer goes on."""
        return offset + len(data)

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        """Raises LogUnavailable, NOT_CAPTURED."""
        raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED, "This instance keeps no compute logs (dagster.yaml).")

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        """No run has any."""
        return {run_id: [] for run_id in run_ids}

    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        """Nothing to close."""

    def delete(self, run_id: str) -> int:
        """Nothing to delete."""
        return 0


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for appending and made when missing, with this process's thread alone at it."""
    try:
        fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise unavailable(error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    except OSError as error:
        raise unavailable(error) from error
    finally:
        os.close(fd)


def _read(fd: int, start: int, max_bytes: int) -> bytes:
    """At most `max_bytes`; fewer only at the end of the file."""
    pieces: list[bytes] = []
    while max_bytes > 0 and (data := os.pread(fd, max_bytes, start)):
        pieces.append(data)
        start += len(data)
        max_bytes -= len(data)
    return b"".join(pieces)
