"""Names of compute log files in a run's folder, and what they tell.

`<step>.out` and `<step>.err` are the first attempt's, `<step>~2.out` the second's. `<step>.out.complete` says that the
stream is closed; it is empty, or says `truncated`. A bare `<step>.complete`, as Dagster leaves it, counts for both
streams of the first attempt. A step key too long for a file name is in `<step>.step-key` beside its logs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from daglens.storage.errors import InvalidName
from daglens.storage.names import check_name, file_name, is_cut, text_of
from daglens.storage.records import ComputeIO, LogFile, LogKey

MAX_ATTEMPT = 2_147_483_647

_SUFFIX_OF = {ComputeIO.STDOUT: ".out", ComputeIO.STDERR: ".err"}
_IO_OF = {suffix: io for io, suffix in _SUFFIX_OF.items()}
_ATTEMPT = re.compile(r"(.+)~([2-9]|[1-9][0-9]{1,9})")
_COMPLETE = ".complete"
_STEP_KEY = ".step-key"
TRUNCATED = "truncated"

_SETTLED_NS = 2_000_000_000
_MOST_KEPT = 64
"""Folders, of runs that are looked at now."""


class Mark(NamedTuple):
    """Whether a stream is closed, and whether more was written than is kept."""

    complete: bool
    truncated: bool


def log_name(key: LogKey, io: ComputeIO) -> str:
    """Name of a stream's file.

    Raises:
        InvalidName: The step key can't be one, or the attempt is below 1 or above 2,147,483,647.
    """
    if not 1 <= key.attempt <= MAX_ATTEMPT:
        raise InvalidName(f"Attempts are counted from 1; {key.attempt} is none.")
    attempt = "" if key.attempt == 1 else f"~{key.attempt}"
    return f"{file_name(check_name(key.step_key, 'step key'))}{attempt}{_SUFFIX_OF[io]}"


def step_key_file(key: LogKey) -> str | None:
    """Name of the file that keeps the step key; None: the log's own name tells it."""
    name = file_name(check_name(key.step_key, "step key"))
    return name + _STEP_KEY if is_cut(name) else None


def mark_name(name: str) -> str:
    """Name of the mark that closes the stream of this file name."""
    return name + _COMPLETE


def read_mark(folder: Path, key: LogKey, io: ComputeIO) -> Mark:
    """The mark of one stream, as it stands on disk.

    Raises:
        InvalidName: As `log_name`.
        OSError: The folder can't be read.
    """
    name = log_name(key, io)
    bare = _bare_mark_name(name)
    for mark in (mark_name(name), bare):
        if mark is not None:
            try:
                found = os.stat(os.path.join(folder, mark))
            except (FileNotFoundError, NotADirectoryError):
                continue
            return Mark(True, mark != bare and found.st_size > 0)
    return Mark(False, False)


def listed(run_id: str, folder: Path) -> list[LogFile]:
    """Every log of the folder, by step key, attempt, stdout before stderr; one listing. A missing folder has none.

    Raises:
        OSError: The folder can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(_log_files(run_id, folder, found), key=_order)


class LatestAttempts:
    """The latest attempt of each step that has a log in a folder, by the name of the step in its files' names.

    A folder is gone through again only once it has changed: who follows a step of a run with a thousand others asks
    again and again, and each entry costs a system call.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, int, int], Mapping[str, int]]] = {}

    def of(self, folder: str) -> Mapping[str, int]:
        """Empty for a folder that is missing.

        Raises:
            OSError: The folder can't be read.
        """
        try:
            # To open it is what makes a network file system ask for its present state; `stat` may tell an old one.
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        try:
            state = os.fstat(fd)
            version = (state.st_dev, state.st_ino, state.st_ctime_ns)
            kept = self._kept.get(folder)
            if kept is not None and kept[0] == version:
                return kept[1]
            found = _latest_attempts(fd)
        finally:
            os.close(fd)
        # What changes within one tick of a file system's clock leaves no trace in its times.
        if time.time_ns() - state.st_ctime_ns > _SETTLED_NS:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[folder] = version, found
        return found


def _latest_attempts(fd: int) -> Mapping[str, int]:
    found: dict[str, int] = {}
    with os.scandir(fd) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix in _IO_OF and entry.is_file(follow_symlinks=False):
                step_name, attempt = _step_and_attempt(stem)
                if found.get(step_name, 0) < attempt <= MAX_ATTEMPT:
                    found[step_name] = attempt
    return found


def _step_and_attempt(stem: str) -> tuple[str, int]:
    numbered = _ATTEMPT.fullmatch(stem)
    return (stem, 1) if numbered is None else (numbered[1], int(numbered[2]))


def _log_files(run_id: str, folder: Path, found: dict[str, os.DirEntry[str]]) -> Iterator[LogFile]:
    # Of a step there are two files at least.
    step_keys: dict[str, str | None] = {}
    for name, entry in found.items():
        stem, suffix = os.path.splitext(name)
        io = _IO_OF.get(suffix)
        if io is None:
            continue
        step_name, attempt = _step_and_attempt(stem)
        if step_name not in step_keys:
            step_keys[step_name] = _step_key(folder, step_name, found)
        step_key = step_keys[step_name]
        if step_key is None or attempt > MAX_ATTEMPT:
            continue
        try:
            if not entry.is_file(follow_symlinks=False):
                continue
            size = entry.stat().st_size
            mark = _listed_mark(name, found)
        except FileNotFoundError:
            continue  # deleted meanwhile
        yield LogFile(LogKey(run_id, step_key, attempt), io, size, *mark, entry.path)


def _listed_mark(name: str, found: dict[str, os.DirEntry[str]]) -> Mark:
    own = found.get(mark_name(name))
    if own is not None:
        return Mark(True, own.stat().st_size > 0)
    return Mark(_bare_mark_name(name) in found, False)


def _bare_mark_name(name: str) -> str | None:
    """Dagster's mark for both streams of a step; None where such a name is the mark of one of our files."""
    stem = os.path.splitext(name)[0]
    if _ATTEMPT.fullmatch(stem) or os.path.splitext(stem)[1] in _IO_OF:
        return None
    return stem + _COMPLETE


def _step_key(folder: Path, name: str, found: dict[str, os.DirEntry[str]]) -> str | None:
    """The step key behind a file name; None where it is not one of ours."""
    if not is_cut(name):
        step_key = text_of(name)
    elif name + _STEP_KEY in found:
        try:
            step_key = (folder / (name + _STEP_KEY)).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
    else:
        return None
    try:
        return step_key if file_name(check_name(step_key, "step key")) == name else None
    except InvalidName:
        return None


def _order(log: LogFile) -> tuple[str, int, bool]:
    return log.key.step_key, log.key.attempt, log.io is ComputeIO.STDERR
