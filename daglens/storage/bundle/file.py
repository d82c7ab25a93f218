"""One bundle on disk: checked and indexed by one pass over it, then read wherever it is asked for."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from daglens.storage.bundle.lines import (
    CHUNK_BYTES,
    MAX_LINE_BYTES,
    MAX_LOGS,
    BadLine,
    EndLine,
    InvalidBundle,
    LogLine,
    check_header,
    parse,
    read_end,
    read_event,
    read_log,
    read_run,
)
from daglens.storage.drafts import PreparedEvent
from daglens.storage.errors import InvalidName, StorageUnavailable, TooManyTags
from daglens.storage.fold import fold_state
from daglens.storage.records import MAX_SEQ, EventRecord, NewRun, RunState
from daglens.storage.run_rules import new_record

OnEvent = Callable[[str, int, PreparedEvent], None]
"""Called with run id, seq and event for each event, in order, while a bundle is checked."""
OnProgress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""

_BLOCK_EVENTS = 64
_BLOCK_BYTES = 262_144
_READ_BYTES = 131_072
_PROGRESS_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class BundledLog:
    """A log and where its lines begin in the file (8 bytes for each 48 KiB of log)."""

    line: LogLine
    offsets: array[int] = field(default_factory=lambda: array("Q"))


class BundleFile:
    """A sound bundle. Many threads may read it at once.

    What it holds in memory beside the run's own line grows with the logs (8 bytes for each 48 KiB) and the events (16
    bytes for each 64), never with what they say.

    Attributes:
        path: As it was given.
        run: The run as its line has it.
        state: What the run-level events add up to.
        end: Counts, and the digest of the file.
        size_bytes: Of the file.
        logs: By (step key, attempt, 0 for stdout and 1 for stderr), in that order.
    """

    def __init__(self, path: Path, file: BinaryIO, scan: _Scan) -> None:
        """See `open`."""
        assert scan.run is not None and scan.end is not None
        self.path = path
        self.run: NewRun = scan.run
        self.state: RunState = scan.state
        self.end: EndLine = scan.end
        self.logs = scan.logs
        self._file = file
        self._fd = file.fileno()
        self._block_seqs = scan.block_seqs
        self._block_offsets = scan.block_offsets
        self._stamp = _stamp(self._fd)
        self.size_bytes = self._stamp[0]

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, on_event: OnEvent | None = None, on_progress: OnProgress | None = None
    ) -> Self:
        """Check the whole file, digest included, and keep it open.

        Args:
            on_progress: In bytes.

        Raises:
            InvalidBundle: It is no bundle, or damaged, or can't be read; the sentence names file and line.
        """
        path = Path(path)
        file = _open(path)
        try:
            scan = _Scan(on_event)
            _check(path, file, scan, on_progress)
            return cls(path, file, scan)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """May be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_unchanged(self) -> bool:
        """Whether the file is still the one that was checked."""
        try:
            return _stamp(self._fd) == self._stamp
        except OSError:
            return False

    def events(self, first_seq: int = 1) -> Iterator[tuple[int, PreparedEvent]]:
        """Events with their seqs, from `first_seq` to the last.

        Raises:
            StorageUnavailable: The file was changed meanwhile, or its disk doesn't answer.
        """
        if first_seq > self.end.events:
            return
        block = bisect_right(self._block_seqs, max(first_seq, 1)) - 1
        expected = self._block_seqs[block]
        for line in self._lines(self._block_offsets[block]):
            seq, event = self._event(line)
            if seq != expected:
                raise self._changed()
            if seq >= first_seq:
                yield seq, event
            if seq == self.end.events:
                return
            expected += 1

    def block_start(self, seq: int) -> int:
        """The first seq of the block that `seq` (1 to the last) is in: where reading towards it begins anyway."""
        return self._block_seqs[bisect_right(self._block_seqs, seq) - 1]

    def record(self, seq: int, event: PreparedEvent) -> EventRecord:
        """The event as a storage gives it."""
        return event.record(self.run.run_id, seq)

    def log_bytes(self, log: BundledLog, start: int, max_bytes: int) -> bytes:
        """At most `max_bytes` of a log from byte `start`; fewer only at its end.

        Raises:
            StorageUnavailable: As `events`.
        """
        end = min(log.line.size_bytes, start + max(0, max_bytes))
        pieces = []
        while start < end:
            number, skip = divmod(start, CHUNK_BYTES)
            piece = self._chunk(log, number)[skip : skip + end - start]
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def _chunk(self, log: BundledLog, number: int) -> bytes:
        size = min(CHUNK_BYTES, log.line.size_bytes - number * CHUNK_BYTES)
        kind, data = self._parse(next(self._lines(log.offsets[number]), b""))
        if kind != "bytes" or len(data) != size:
            raise self._changed()
        assert isinstance(data, bytes)
        return data

    def _event(self, line: bytes) -> tuple[int, PreparedEvent]:
        kind, value = self._parse(line)
        if kind != "event":
            raise self._changed()
        try:
            return read_event(value)
        except (BadLine, InvalidName):
            raise self._changed() from None

    def _parse(self, line: bytes) -> tuple[str, Any]:
        try:
            return parse(line)
        except BadLine:
            raise self._changed() from None

    def _lines(self, offset: int) -> Iterator[bytes]:
        """Lines from a place where one begins. By pread: threads share the descriptor, but no position in it."""
        rest = b""
        while True:
            try:
                # A line that is longer than this is read in steps that double, each copied once more.
                data = os.pread(self._fd, max(_READ_BYTES, len(rest)), offset)
            except OSError as error:
                raise StorageUnavailable(f"{self.path}: {error.strerror or error}.") from None
            if not data or len(rest) > MAX_LINE_BYTES:
                raise self._changed()
            offset += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def _changed(self) -> StorageUnavailable:
        return StorageUnavailable(f"{self.path} was changed after it was opened. Open it again.")


class _Scan:
    """What one pass over the lines finds out, in constant memory but for the index."""

    def __init__(self, on_event: OnEvent | None) -> None:
        self.run: NewRun | None = None
        self.state = RunState()
        self.end: EndLine | None = None
        self.logs: dict[tuple[str, int, int], BundledLog] = {}
        self.block_seqs = array("Q")
        self.block_offsets = array("Q")
        self._on_event = on_event
        self._digest = hashlib.sha256()
        self._last_seq = 0
        self._log: BundledLog | None = None
        self._received = 0
        self._log_bytes = 0

    def take(self, number: int, offset: int, line: bytes) -> None:
        """Take the next line.

        Raises:
            BadLine, InvalidName, TooManyTags
        """
        if self.end is not None:
            raise BadLine("There is more behind the line that says the end.")
        if number == 1:
            check_header(line)
        else:
            kind, value = parse(line)
            if (kind == "run") != (number == 2):
                raise BadLine("The run stands in the second line, and only there.")
            if kind == "end":
                self._take_end(value)
                return
            getattr(self, f"_take_{kind}")(value, offset)
        self._digest.update(line)

    def _take_run(self, value: Any, offset: int) -> None:
        self.run = read_run(value)
        # What a storage would refuse is refused here, before anything is stored.
        new_record(self.run, 0)

    def _take_event(self, value: Any, offset: int) -> None:
        assert self.run is not None
        if self.logs:
            raise BadLine("An event stands behind the first log.")
        seq, event = read_event(value)
        if seq != self._last_seq + 1 or seq > MAX_SEQ:
            raise BadLine(f"Event {self._last_seq + 1} should stand here, not {seq}.")
        self._last_seq = seq
        self.state = fold_state(self.state, seq, event.event_type, event.timestamp_us, event.data)
        if (
            not self.block_seqs
            or seq - self.block_seqs[-1] >= _BLOCK_EVENTS
            or offset - self.block_offsets[-1] >= _BLOCK_BYTES
        ):
            self.block_seqs.append(seq)
            self.block_offsets.append(offset)
        if self._on_event is not None:
            self._on_event(self.run.run_id, seq, event)

    def _take_log(self, value: Any, offset: int) -> None:
        self._end_log()
        assert self.run is not None
        line = read_log(value, self.run.run_id)
        if self._log is not None and line.place <= self._log.line.place:
            raise BadLine("Logs stand in order of step key, attempt, stdout before stderr, each once.")
        if len(self.logs) == MAX_LOGS:
            raise BadLine(f"A bundle has at most {MAX_LOGS} logs.")
        self._log = self.logs[line.place] = BundledLog(line)
        self._received = 0

    def _take_bytes(self, data: bytes, offset: int) -> None:
        if self._log is None:
            raise BadLine("Bytes stand here before any log.")
        expected = min(CHUNK_BYTES, self._log.line.size_bytes - self._received)
        if len(data) != expected or not data:
            raise BadLine(f"{expected} bytes of the log should stand here, not {len(data)}.")
        self._log.offsets.append(offset)
        self._received += len(data)
        self._log_bytes += len(data)

    def _end_log(self) -> None:
        if self._log is not None and self._received != self._log.line.size_bytes:
            raise BadLine(f"The log before has {self._log.line.size_bytes} bytes, but {self._received} of them stand.")

    def _take_end(self, value: Any) -> None:
        self._end_log()
        end = read_end(value)
        found = EndLine(self._last_seq, len(self.logs), self._log_bytes, end.sha256)
        if found != end:
            raise BadLine(
                f"{end.events} events and {end.logs} logs of {end.log_bytes} bytes should stand before this line, "
                f"not {found.events} and {found.logs} of {found.log_bytes}."
            )
        if self._digest.hexdigest() != end.sha256:
            raise BadLine("The checksum is not that of the lines before: the file was damaged or edited.")
        self.end = end


def _open(path: Path) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise InvalidBundle(f"{path}: {getattr(error, 'strerror', None) or error}.") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidBundle(f"{path}: not a file. A bundle is read in places, so it can't be a pipe or a folder.")
    return os.fdopen(fd, "rb")


def _check(path: Path, file: BinaryIO, scan: _Scan, on_progress: OnProgress | None) -> None:
    size = os.fstat(file.fileno()).st_size
    offset = told = number = 0
    while True:
        number += 1
        try:
            line = file.readline(MAX_LINE_BYTES + 1)
            if not line:
                break
            if not line.endswith(b"\n"):
                raise BadLine(_unfinished(line))
            scan.take(number, offset, line)
        except (BadLine, InvalidName, TooManyTags) as error:
            raise InvalidBundle(f"{path}, line {number}: {error}") from None
        except OSError as error:
            raise InvalidBundle(f"{path}, line {number}: {error.strerror or error}.") from None
        offset += len(line)
        if on_progress is not None and offset - told >= _PROGRESS_BYTES:
            told = offset
            on_progress(offset, size)
    if scan.end is None:
        raise InvalidBundle(f"{path}, line {number}: The file ends before the line that says its end: it was cut off.")
    if on_progress is not None:
        on_progress(offset, size)


def _unfinished(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        return f"It is longer than {MAX_LINE_BYTES} bytes."
    return "The file ends in the middle of this line: it was cut off."


def _stamp(fd: int) -> tuple[int, int, int]:
    found = os.fstat(fd)
    return (found.st_size, found.st_mtime_ns, found.st_ino)
