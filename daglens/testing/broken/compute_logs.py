"""Compute log managers with one mistake each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.contract import LogCapture
from daglens.storage.errors import LogClosed, LogGap, LogUnavailable
from daglens.storage.records import ComputeIO, LogBytes, LogFile, LogKey
from daglens.testing.broken.pause import others_run

EVERYTHING = 2**40


# ---------------------------------------------------------------- capture


class _Closing:
    """A capture whose end is `closed`."""

    def __init__(self, capture: LogCapture, key: LogKey) -> None:
        self.capture = capture
        self.key = key
        self.stdout_path: Path = capture.stdout_path
        self.stderr_path: Path = capture.stderr_path

    def close(self, *, truncated: bool = False) -> None:
        self.capture.close(truncated=truncated)


class LosesTheTail(LocalComputeLogManager):
    """What comes after the last whole line is gone once the step ends."""

    def capture(self, key: LogKey) -> LogCapture:
        class WholeLines(_Closing):
            def close(self, *, truncated: bool = False) -> None:
                for path in (self.stdout_path, self.stderr_path):
                    data = path.read_bytes()
                    path.write_bytes(data[: data.rfind(b"\n") + 1])
                super().close(truncated=truncated)

        return WholeLines(super().capture(key), key)


class ClosesStdoutOnly(LocalComputeLogManager):
    """The end of a capture forgets stderr, so its readers wait for ever."""

    def capture(self, key: LogKey) -> LogCapture:
        manager = self

        class OneOfTwo(_Closing):
            def close(self, *, truncated: bool = False) -> None:
                manager.mark_complete(key, ComputeIO.STDOUT, truncated=truncated)

        return OneOfTwo(super().capture(key), key)


class ForgetsTruncated(LocalComputeLogManager):
    """A log that was cut reads as if it were whole."""

    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        super().mark_complete(key, io)

    def close_captured(self, key: LogKey, truncated: bool) -> None:
        super().close_captured(key, False)


class MakesLogsAtTheEnd(LocalComputeLogManager):
    """A log is there only once its step has ended."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        found = super().read(key, io, start, max_bytes)
        if not found.complete and not found.size_bytes:
            raise LogUnavailable("NOT_CAPTURED")
        return found


class MixesAttempts(LocalComputeLogManager):
    """A retry writes into the log of the first attempt."""

    def capture(self, key: LogKey) -> LogCapture:
        try:
            return super().capture(replace(key, attempt=1))
        except LogClosed:
            return super().capture(key)

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        return super().read(replace(key, attempt=1), io, start, max_bytes)


class SwapsStreams(LocalComputeLogManager):
    """stderr is read as stdout, and the other way round."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        other = ComputeIO.STDERR if io is ComputeIO.STDOUT else ComputeIO.STDOUT
        return super().read(key, other, start, max_bytes)


class MissesDeletedFiles(LocalComputeLogManager):
    """The end of a capture fails when the run was deleted meanwhile."""

    def close_captured(self, key: LogKey, truncated: bool) -> None:
        if not self.list([key.run_id])[key.run_id]:
            raise FileNotFoundError(key.run_id)
        super().close_captured(key, truncated)


# ---------------------------------------------------------------- append


class AcceptsAGap(LocalComputeLogManager):
    """Bytes that begin beyond the end are stored at the end."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        try:
            return super().append(key, io, offset, data, complete=complete)
        except LogGap as gap:
            return super().append(key, io, gap.size_bytes, data, complete=complete)


class MakesALogOfAGap(LocalComputeLogManager):
    """A gap is refused, but leaves an empty log where none was."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        super().append(key, io, 0, b"")
        return super().append(key, io, offset, data, complete=complete)


class StoresRepeatsTwice(LocalComputeLogManager):
    """Whatever is sent is appended, also when it is there already."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        size = _size(self, key, io)
        return super().append(key, io, max(offset, size), data, complete=complete)


class DropsOverlappingPieces(LocalComputeLogManager):
    """A piece that begins before the end counts as known, also its new bytes."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        size = _size(self, key, io)
        return super().append(key, io, offset, b"" if offset < size else data, complete=complete)


class ForgetsComplete(LocalComputeLogManager):
    """The last piece does not close the stream."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        return super().append(key, io, offset, data)


class ClosesEveryAttempt(LocalComputeLogManager):
    """Closing a stream closes that of the next attempt too."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        size = super().append(key, io, offset, data, complete=complete)
        if complete:
            super().mark_complete(replace(key, attempt=key.attempt + 1), io)
        return size


class GrowsAfterItsEnd(LocalComputeLogManager):
    """A closed stream takes new bytes, silently dropping them."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        try:
            return super().append(key, io, offset, data, complete=complete)
        except LogClosed:
            return offset + len(data)


class LooksBeforeItAppends(LocalComputeLogManager):
    """Asks for the size, and appends later what seemed to be new: two writers at once store it twice."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        size = _size(self, key, io)
        if offset > size:
            raise LogGap(size)
        new = data[size - offset :]
        others_run()
        return super().append(key, io, _size(self, key, io), new, complete=complete)


# ---------------------------------------------------------------- read and list


class CutsAtNul(LocalComputeLogManager):
    """A read ends at a NUL, as C's strings do."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        found = super().read(key, io, start, max_bytes)
        return found._replace(data=found.data.partition(b"\0")[0])


class KeepsText(LocalComputeLogManager):
    """Bytes that are no UTF-8 are replaced on the way in."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        text = data.decode("utf-8", "replace").encode()[: len(data)]
        return super().append(key, io, offset, text, complete=complete)


class TranslatesLineEnds(LocalComputeLogManager):
    """Carriage returns are dropped from what is read."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        found = super().read(key, io, start, max_bytes)
        return found._replace(data=found.data.replace(b"\r\n", b"\n"))


class OneByteTooMany(LocalComputeLogManager):
    """A read gives one byte more than was asked for."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        return super().read(key, io, start, max_bytes + 1)


class SizeOfThePiece(LocalComputeLogManager):
    """Tells the size of what it read, not of the log."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        found = super().read(key, io, start, max_bytes)
        return found._replace(size_bytes=start + len(found.data))


class OnlyTheFirstMegabyte(LocalComputeLogManager):
    """What lies beyond 1 MiB can't be reached."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        return super().read(key, io, min(start, 2**20), max_bytes)


class ReadsNothingOfNothing(LocalComputeLogManager):
    """A log that was never captured reads as an empty one."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        try:
            return super().read(key, io, start, max_bytes)
        except LogUnavailable:
            return LogBytes(b"", 0, False, False)


class ListsInOrderOfNames(LocalComputeLogManager):
    """Attempts are ordered as text: 10 before 2."""

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        return {
            run_id: sorted(files, key=lambda file: (file.key.step_key, str(file.key.attempt), file.io is not _OUT))
            for run_id, files in super().list(run_ids).items()
        }


class ListsTheLastAttempt(LocalComputeLogManager):
    """Earlier attempts are not listed."""

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        return {
            run_id: list({(file.key.step_key, file.io): file for file in files}.values())
            for run_id, files in super().list(run_ids).items()
        }


class KeepsTheLatestAttempt(LocalComputeLogManager):
    """The latest attempt of a step stays what it was when somebody first asked."""

    def latest_attempt(self, run_id: str, step_key: str) -> int:
        known: dict[tuple[str, str], int] = self.__dict__.setdefault("known", {})
        return known.setdefault((run_id, step_key), super().latest_attempt(run_id, step_key))


class ListsOnePage(LocalComputeLogManager):
    """Lists a hundred logs and no more."""

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        return {run_id: files[:100] for run_id, files in super().list(run_ids).items()}


# ---------------------------------------------------------------- delete, names


class LeavesMarks(LocalComputeLogManager):
    """Deletes the logs, not the marks that closed them."""

    def delete(self, run_id: str) -> int:
        closed = [(file.key, file.io) for file in self.list([run_id])[run_id] if file.complete]
        freed = super().delete(run_id)
        for key, io in closed:
            self.mark_complete(key, io)
            self._path(key, io).unlink()
        return freed


class DeletesByPrefix(LocalComputeLogManager):
    """Deletes every run whose id begins alike."""

    def delete(self, run_id: str) -> int:
        freed = super().delete(run_id)
        if run_id and freed:
            for folder in self._folders.base.glob("*"):
                if folder.name.startswith(run_id):
                    super().delete(folder.name)
        return freed


class NamesAsTheyCome(LocalComputeLogManager):
    """Takes an id for a path, as far as it goes: `a//b`, `a/./b` and `a/b` are one."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        return super().append(_as_path(key), io, offset, data, complete=complete)

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        return super().read(_as_path(key), io, start, max_bytes)


class IgnoresCase(LocalComputeLogManager):
    """`Step` and `step` are one log."""

    def capture(self, key: LogKey) -> LogCapture:
        return super().capture(replace(key, step_key=key.step_key.lower()[:255]))

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        return super().read(replace(key, step_key=key.step_key.lower()[:255]), io, start, max_bytes)


class TakesAnyName(LocalComputeLogManager):
    """An empty id is one like any other."""

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        named = LogKey(key.run_id or "unnamed", key.step_key or "unnamed", key.attempt)
        return super().append(named, io, offset, data, complete=complete)


_OUT = ComputeIO.STDOUT


def _size(logs: LocalComputeLogManager, key: LogKey, io: ComputeIO) -> int:
    try:
        return logs.read(key, io, 0, 0).size_bytes
    except LogUnavailable:
        return 0


def _as_path(key: LogKey) -> LogKey:
    parts = [part for part in key.step_key.split("/") if part not in ("", ".")]
    return replace(key, step_key="/".join(parts) or key.step_key)
