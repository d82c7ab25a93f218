"""From an instance to a bundle."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from daglens.bundles import OnStep, Part
from daglens.bundles.event_pages import event_pages
from daglens.instance import Instance
from daglens.storage.bundle.lines import (
    CHUNK_BYTES,
    MAX_LINE_BYTES,
    MAX_LOGS,
    EndLine,
    LogLine,
    bytes_line,
    end_line,
    event_line,
    header_line,
    log_line,
    run_line,
)
from daglens.storage.errors import DaglensError, LogUnavailable, RunDeleted, RunNotFound
from daglens.storage.fold import project
from daglens.storage.records import Head, RunRecord

_READ_BYTES = 20 * CHUNK_BYTES


class BundleNotWritten(DaglensError):
    """The bundle was not written."""

    code = "BUNDLE_NOT_WRITTEN"


@dataclass(frozen=True, slots=True)
class Exported:
    """What a bundle holds; `size_bytes` is the size of its file."""

    run_id: str
    events: int
    logs: int
    log_bytes: int
    size_bytes: int


def export_file(
    instance: Instance,
    run_id: str,
    path: Path,
    *,
    logs: bool = True,
    overwrite: bool = False,
    on_step: OnStep | None = None,
) -> Exported:
    """Write the bundle of a run to a file, which appears when it is whole.

    Args:
        logs: With the compute logs.
        overwrite: Take the place of a file that is there.

    Raises:
        RunNotFound: There is no such run.
        EventsGone, RunDeleted: It is being deleted.
        BundleNotWritten: The file is there already or can't be written, or a log can't be read.
        StorageUnavailable
    """
    if not overwrite:
        _check_free(path)
    part = path.parent / f".{path.name[:200]}.{secrets.token_hex(4)}.part"
    try:
        with open(part, "xb") as stream:
            exported = write_bundle(instance, run_id, stream, logs=logs, on_step=on_step)
            stream.flush()
            os.fsync(stream.fileno())
        if not overwrite:
            _check_free(path)
        os.replace(part, path)
        return exported
    except OSError as error:
        raise BundleNotWritten(f"{path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise BundleNotWritten(f"{path} is there already; --force writes over it.")


def write_bundle(
    instance: Instance, run_id: str, stream: BinaryIO, *, logs: bool = True, on_step: OnStep | None = None
) -> Exported:
    """Write the bundle of a run, as it is now: events up to the present head, logs up to their present size.

    Raises:
        RunNotFound, EventsGone, RunDeleted, BundleNotWritten, StorageUnavailable
        OSError: The stream takes no more.
    """
    # The run before the head: then the head is not behind the row.
    run = instance.run(run_id)
    if run is None:
        raise RunNotFound(run_id)
    head = instance.events.heads([run_id]).get(run_id)
    _check_there(run_id, head)
    out = _Lines(stream, on_step or (lambda part, done, of: None))
    out.write(header_line())
    out.write(_checked(partial(run_line, _projected(run, head)), "the run's configuration"))
    events = 0 if head is None else head.last_seq
    _write_events(instance, run_id, events, out)
    try:
        written_logs, log_bytes = _write_logs(instance, run_id, out) if logs else (0, 0)
    except BundleNotWritten:
        _check_there(run_id, instance.events.heads([run_id]).get(run_id))
        raise
    # A deletion takes the logs first: with all events read, some logs may have been gone already. It closes the head
    # before it takes anything, so where that is open still, nothing was gone.
    _check_there(run_id, instance.events.heads([run_id]).get(run_id))
    out.write(end_line(EndLine(events, written_logs, log_bytes, out.digest.hexdigest())))
    return Exported(run_id, events, written_logs, log_bytes, out.size_bytes)


def _check_there(run_id: str, head: Head | None) -> None:
    if head is not None and head.deleted:
        raise RunDeleted(run_id)


class _Lines:
    """Where the lines go, with the digest of those that went."""

    def __init__(self, stream: BinaryIO, on_step: OnStep) -> None:
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.on_step = on_step
        self._stream = stream

    def write(self, line: bytes) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise BundleNotWritten(f"A line of it would have {len(line)} bytes; {MAX_LINE_BYTES} are the most.")
        self._stream.write(line)
        self.digest.update(line)
        self.size_bytes += len(line)


def _projected(run: RunRecord, head: Head | None) -> RunRecord:
    """The row as the log has it: where the storages share no transaction, it may be behind."""
    move = None if head is None else project(run, head.state)
    if move is None:
        return run
    return run._replace(status=move.status, started_at_us=move.started_at_us, ended_at_us=move.ended_at_us)


def _write_events(instance: Instance, run_id: str, last_seq: int, out: _Lines) -> None:
    for page in event_pages(instance, run_id, last_seq):
        for event in page:
            out.write(_checked(partial(event_line, event), f"the data of event {event.seq}"))
        out.on_step(Part.EVENTS, page[-1].seq, last_seq)


def _write_logs(instance: Instance, run_id: str, out: _Lines) -> tuple[int, int]:
    listed = instance.compute_logs.list([run_id]).get(run_id, ())
    lines = sorted(
        (
            # What is truncated but open can't be made by anybody who imports it, so it isn't told.
            LogLine(file.key, file.io, file.size_bytes, file.complete, file.truncated and file.complete)
            for file in listed
        ),
        key=lambda line: line.place,
    )
    if len(lines) > MAX_LOGS:
        raise BundleNotWritten(f"Run {run_id} has {len(lines)} compute logs; a bundle has at most {MAX_LOGS}.")
    total = sum(line.size_bytes for line in lines)
    done = 0
    for line in lines:
        out.write(log_line(line))
        for data in _log_bytes(instance, line):
            for start in range(0, len(data), CHUNK_BYTES):
                out.write(bytes_line(data[start : start + CHUNK_BYTES]))
            done += len(data)
            out.on_step(Part.LOGS, done, total)
    return len(lines), total


def _log_bytes(instance: Instance, line: LogLine) -> Iterator[bytes]:
    """The bytes of a log, in pieces of whole lines of the bundle but the last."""
    start = 0
    while start < line.size_bytes:
        wanted = min(_READ_BYTES, line.size_bytes - start)
        piece = b""
        # A storage may give fewer bytes than it has.
        while len(piece) < wanted:
            try:
                data = instance.compute_logs.read(line.key, line.io, start + len(piece), wanted - len(piece)).data
            except LogUnavailable as error:
                raise BundleNotWritten(f"{_name(line)} ({error.reason}): {error} --no-logs leaves logs out.") from error
            if not data:
                raise BundleNotWritten(f"{_name(line)} has become shorter than its {line.size_bytes} bytes.")
            piece += data
        yield piece
        start += wanted


def _name(line: LogLine) -> str:
    return f"{line.io} of step {line.key.step_key}, attempt {line.key.attempt}"


def _checked(make: Callable[[], bytes], what: str) -> bytes:
    try:
        return make()
    except (ValueError, RecursionError) as error:
        raise BundleNotWritten(f"In the storage, {what} is no JSON: {error}.") from None
