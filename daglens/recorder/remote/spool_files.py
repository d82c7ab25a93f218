"""The folder of one spool: what one process has recorded of one run, for one server.

    <spool>/runs/<name>/
        lock                  locked by the process that records, or by the one that sends what a dead one left
        about.json            server, run, how the run is created; no token
        events-000001.ndjson  records (records.py), appended to; the next file when one has grown
        sent.json             how far the server has them, and the logs
        logs/<run>/compute_logs/…   captured output, in the files of LocalComputeLogManager

Names sort by when the spool was begun.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from daglens.recorder.remote.records import SpooledRecord, unframed
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.drafts import now_us
from daglens.storage.records import LogFile

_SEGMENT: Final = "events-{:06d}.ndjson"
_BLOCK_BYTES: Final = 512
_NOTHING: Final = object()
_ATTEMPTS: Final = (b'{"eventType":"STEP_START"', b'{"eventType":"STEP_RESTARTED"')


@dataclass(frozen=True, slots=True)
class About:
    """What a spool is for. Written before its first event.

    Attributes:
        url: Of the server.
        create: The CreateRunInput of the run; None: somebody else creates it.
        heartbeat_timeout_s: With which the run's recorder sends heartbeats; None: it sends none.
        process_id, hostname: Of the process that records.
    """

    url: str
    run_id: str
    create: dict[str, Any] | None = None
    heartbeat_timeout_s: int | None = None
    process_id: int = 0
    hostname: str = ""


@dataclass(slots=True)
class LogSent:
    """How far one log is sent.

    Attributes:
        bytes: The server has these.
        freed: These no longer take room on the disk.
        refused: The server doesn't take it.
    """

    bytes: int = 0
    freed: int = 0
    refused: bool = False


@dataclass(slots=True)
class Sent:
    """How far a spool is sent.

    Attributes:
        created: The server has the run.
        reported: The server has taken something for the run.
        segment, offset: Events before this place are there.
        run_ended: The end of the run is among them.
        failures: So often in a row the server itself failed at the next ones.
        logs: By file name.
        problem: Why it isn't further, as a sentence.
    """

    created: bool = False
    reported: bool = False
    segment: int = 1
    offset: int = 0
    run_ended: bool = False
    failures: int = 0
    logs: dict[str, LogSent] = field(default_factory=dict)
    problem: str | None = None


class SpoolFiles:
    """Reads and writes the folder of one spool. Whoever calls more than the reading methods holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._lock_fd: int | None = None

    # ------------------------------------------------------------ making and locking

    @classmethod
    def make(cls, folder: Path, about: About) -> SpoolFiles:
        """A new spool below `folder`, locked.

        Raises:
            OSError: It can't be made or locked, or others could read and change what is in it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_strangers(folder)
        files = cls(folder / f"{now_us():016x}-{secrets.token_hex(4)}")
        files.path.mkdir(mode=0o700)
        try:
            if not files.lock():
                raise OSError(f"{files.path} is locked already")
            files.write_about(about)
        except BaseException:
            files.release()
            shutil.rmtree(files.path, ignore_errors=True)
            raise
        return files

    def lock(self) -> bool:
        """Take the lock; False when another process has it.

        Raises:
            OSError: Files can't be locked there, or the spool is gone.
        """
        with _no_fork:
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            except OSError:
                os.close(fd)
                raise
            self._lock_fd = fd
            _locked.add(self)
            return True

    def release(self) -> None:
        """Give the lock back. In a forked child the parent keeps it."""
        with _no_fork:
            fd, self._lock_fd = self._lock_fd, None
            if fd is not None:
                os.close(fd)

    def is_locked(self) -> bool:
        """Whether some process has the lock."""
        try:
            fd = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except OSError:
            return True
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove the spool and give the lock back. What can't be removed stays, without its content being known."""
        with contextlib.suppress(OSError):
            os.unlink(self.path / "about.json")
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    # ------------------------------------------------------------ about and sent

    def write_about(self, about: About) -> None:
        """Say what the spool is for.

        Raises:
            OSError
        """
        self._replace("about.json", json.dumps(asdict(about)))

    def about(self) -> About | None:
        """What the spool is for; None when it is being made, or gone."""
        found = self._read_json("about.json")
        if not all(isinstance(found.get(name), str) for name in ("url", "run_id")):
            return None
        try:
            return About(**found)
        except TypeError:
            return None

    @property
    def is_unreadable(self) -> bool:
        """Whether nobody here can tell what it is for: it is a newer version's, damaged, or another user's."""
        try:
            return (self.path / "about.json").exists() and self.about() is None
        except PermissionError:  # a `sudo` of this user may have made it
            return True

    def sync_about(self) -> None:
        """Bring what the spool is for, and its place in the folders, through a power cut: without them what it holds
        belongs to nobody.

        Raises:
            OSError
        """
        for path in (self.path / "about.json", self.path, self.path.parent):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def write_sent(self, sent: Sent) -> None:
        """Note how far it is sent. What is lost of this is sent twice, and stored once.

        Raises:
            OSError
        """
        self._replace("sent.json", json.dumps(asdict(sent)))

    def sent(self) -> Sent:
        """How far it is sent; where that can't be read, nothing of what is still there."""
        found = self._read_json("sent.json")
        try:
            logs = {name: LogSent(**log) for name, log in found.pop("logs").items()}
            return Sent(**found, logs=logs)
        except (KeyError, TypeError, AttributeError):
            return Sent(segment=min(self._segments(), default=1))

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _replace(self, name: str, text: str) -> None:
        temporary = self.path / f"{name}.new"
        temporary.write_text(text)
        temporary.replace(self.path / name)

    # ------------------------------------------------------------ events

    def segment(self, number: int) -> Path:
        """A file of events; the first has the number 1."""
        return self.path / _SEGMENT.format(number)

    def read(self, sent: Sent, max_records: int, max_bytes: int) -> Iterator[SpooledRecord | None]:
        """Records from where `sent` stands, of one file; None for a damaged line.

        A last line without its end is one that is being written, or was torn when its writer died.
        """
        with contextlib.suppress(FileNotFoundError), self.segment(sent.segment).open("rb") as file:
            file.seek(sent.offset)
            end = sent.offset
            for _ in range(max_records):
                line = file.readline()
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield unframed(line[:-1], end)
                if end - sent.offset >= max_bytes:
                    return

    def next_segment(self, sent: Sent) -> bool:
        """Go on with the next file of events, and remove the one that is sent; False when there is no next one."""
        following = [number for number in self._segments() if number > sent.segment]
        if not following:
            return False
        # Looked at once more: it may have grown after its end was read, and before the next one was begun.
        if next(self.read(sent, 1, 1), _NOTHING) is not _NOTHING:
            return True
        done = self.segment(sent.segment)
        sent.segment, sent.offset = min(following), 0
        self.write_sent(sent)
        done.unlink(missing_ok=True)
        return True

    def _segments(self) -> list[int]:
        names = (path.stem.removeprefix("events-") for path in self.path.glob("events-*.ndjson"))
        return [int(name) for name in names if name.isdecimal()]

    def waiting_events(self) -> int:
        """How many records are not sent."""
        sent = self.sent()
        count = 0
        while self.segment(sent.segment).exists():
            with contextlib.suppress(FileNotFoundError), self.segment(sent.segment).open("rb") as file:
                file.seek(sent.offset)
                while block := file.read(1 << 20):
                    count += block.count(b"\n")
            sent.segment, sent.offset = sent.segment + 1, 0
        return count

    def attempts(self, step_key: str) -> int:
        """The highest attempt of a step that begins in records that are not sent; 0 for none."""
        sent, highest = self.sent(), 0
        while self.segment(sent.segment).exists():
            for record in self.read(sent, sys.maxsize, sys.maxsize):
                if record is not None and record.json.startswith(_ATTEMPTS):
                    event = json.loads(record.json)
                    if event["stepKey"] == step_key:
                        highest = max(highest, event["data"].get("attempt", 1))
            sent.segment, sent.offset = sent.segment + 1, 0
        return highest

    # ------------------------------------------------------------ logs

    @property
    def logs(self) -> LocalComputeLogManager:
        """Where output is captured to."""
        return LocalComputeLogManager(self.path / "logs")

    def waiting_log_bytes(self) -> int:
        """How many bytes of captured output are not sent."""
        about, sent = self.about(), self.sent()
        if about is None:
            return 0
        total = 0
        for log in self.logs.list([about.run_id])[about.run_id]:
            done = sent.logs.get(Path(log.location).name, LogSent())
            total += 0 if done.refused else max(0, kept_bytes(log) - done.bytes)
        return total

    def is_sent(self) -> bool:
        """Whether the server has everything, and only the folder is left; also whether each log is complete."""
        about, sent = self.about(), self.sent()
        return (
            about is not None
            and (about.create is None or sent.created)
            and not self.waiting_events()
            and not self.waiting_log_bytes()
            and not any(log.complete for log in self.logs.list([about.run_id])[about.run_id])
        )

    # ------------------------------------------------------------ room

    def used_bytes(self) -> int:
        """Room that it takes on the disk."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_blocks * _BLOCK_BYTES
        return total


def cut_path(log: str) -> str:
    """The file that says where a log is cut: beside it, `<step>.out.cut`."""
    return f"{log}.cut"


def cut_of(log: str) -> int | None:
    """After how many bytes a log is cut; None: it is whole."""
    try:
        with open(cut_path(log), encoding="ascii") as file:
            return int(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def kept_bytes(log: LogFile) -> int:
    """How much of a log is kept."""
    cut = cut_of(log.location)
    return log.size_bytes if cut is None else min(cut, log.size_bytes)


def _refuse_strangers(folder: Path) -> None:
    """Output of pipelines is nobody else's: refuse a folder that somebody else made in /tmp, say."""
    found = os.stat(folder)
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, "others may write there", str(folder))


_no_fork = threading.RLock()
"""Held where a descriptor of a lock is on its way: no fork comes between, whose child would keep it, and with it the
lock, for as long as it lives."""
_locked: weakref.WeakSet[SpoolFiles] = weakref.WeakSet()


def _start_in_child() -> None:
    """All locks are the parent's: that of its own spool, and those of dead processes' that it is sending."""
    global _no_fork
    _no_fork = threading.RLock()
    for files in list(_locked):
        files.release()
    _locked.clear()


os.register_at_fork(
    before=lambda: _no_fork.acquire(),
    after_in_parent=lambda: _no_fork.release(),
    after_in_child=_start_in_child,
)
