"""Stdout and stderr of steps: what there is, and its text piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from daglens.resolvers import cursors, log_text, missing_logs, urls
from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.limits import chunk_bytes
from daglens.resolvers.names import is_name
from daglens.storage.contract import ComputeLogManager
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import (
    MAX_SEQ,
    PROCESS_STEP_KEY,
    ComputeIO,
    LogBytes,
    LogFile,
    LogKey,
    LogUnavailableReason,
    RunRecord,
)


@dataclass(frozen=True, slots=True)
class Text:
    """What a stream's text is read by.

    Attributes:
        attempt: None: the latest that has a log when it is read.
        run_ended: Nobody writes to it any more, whether it was closed or not.
        shared: The run has a log that several steps share; None: nobody has looked.
    """

    run_id: str
    step_key: str
    attempt: int | None
    io: ComputeIO
    run_ended: bool
    shared: bool | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of one attempt of a step; without a location nothing was captured that this server sees.

    Attributes:
        truncated: More was, or may have been, written than is kept.
    """

    text: Text
    location: str | None
    size_bytes: int
    complete: bool
    truncated: bool
    download_url: str | None


@dataclass(frozen=True, slots=True)
class StepLog:
    """Both streams of one attempt of a step; `attempts` is the number of the latest that has a log, 0 for none."""

    run_id: str
    step_key: str
    attempt: int
    attempts: int
    stdout: Stream
    stderr: Stream


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a stream, as text.

    Attributes:
        start_byte, end_byte: Its borders in the file; the cursors say the same.
        has_more: Bytes behind it were there when it was read.
        complete: The stream is closed, and this reaches its end.
        invalid_bytes: How many bytes of it were no UTF-8; each reads as U+FFFD.
    """

    attempt: int
    data: str
    start_cursor: str
    cursor: str
    has_more: bool
    complete: bool
    invalid_bytes: int
    start_byte: int
    end_byte: int


async def of_run(context: RequestContext, run: RunRecord) -> list[StepLog]:
    """The latest log of each step of a run that has one, in order of step key.

    Raises:
        StorageUnavailable
    """
    files = await context.loaders.log_files.get(run.run_id)
    step_keys = dict.fromkeys(file.key.step_key for file in files)
    return [_step_log(context, run, files, step_key, None) for step_key in sorted(step_keys)]


def text_of_step(run: RunRecord, step_key: str, attempt: int | None, io: ComputeIO) -> Text:
    """The text of one stream of a step, for those who want to know nothing else of its log; `attempt` None: the latest.

    Nothing is listed before it is read.
    """
    return Text(run.run_id, step_key, attempt, io, run.status.is_final)


async def of_step(context: RequestContext, run: RunRecord, step_key: str, attempt: int | None) -> StepLog:
    """The log of one step; `attempt` None means the latest. A step without one has a log too, whose streams say so.

    Raises:
        StorageUnavailable
    """
    files: Sequence[LogFile] = ()
    # Where the reason is known why nothing can be listed, reading a stream gives it.
    with suppress(LogUnavailable):
        files = await context.loaders.log_files.get(run.run_id)
    return _step_log(context, run, files, step_key, attempt)


def _step_log(
    context: RequestContext, run: RunRecord, files: Sequence[LogFile], step_key: str, attempt: int | None
) -> StepLog:
    of_step = [file for file in files if file.key.step_key == step_key]
    attempts = max((file.key.attempt for file in of_step), default=0)
    key = LogKey(run.run_id, step_key, attempt if attempt is not None else max(attempts, 1))
    shared = any(file.key.step_key == PROCESS_STEP_KEY for file in files)
    found = {file.io: file for file in of_step if file.key.attempt == key.attempt}
    stdout, stderr = (_stream(context, run, key, io, found.get(io), shared) for io in ComputeIO)
    return StepLog(run.run_id, step_key, key.attempt, attempts, stdout, stderr)


def _stream(
    context: RequestContext, run: RunRecord, key: LogKey, io: ComputeIO, file: LogFile | None, shared: bool
) -> Stream:
    text = Text(key.run_id, key.step_key, key.attempt, io, run.status.is_final, shared)
    if file is None:
        return Stream(text, None, 0, False, False, None)
    return Stream(
        text=text,
        location=file.location,
        size_bytes=file.size_bytes,
        complete=file.complete,
        truncated=file.truncated or (text.run_ended and not file.complete),
        download_url=urls.log_url(context.url_prefix, key, io),
    )


async def chunk(context: RequestContext, text: Text, after: str | None, max_bytes: int) -> Chunk:
    """The text behind a cursor (None: from the beginning), of at most `max_bytes` bytes.

    Raises:
        InvalidCursor, LogUnavailable, StorageUnavailable
    """
    place = None if after is None else _place(text, after)
    most = chunk_bytes(max_bytes)

    def read(storage: ComputeLogManager, key: LogKey) -> Chunk:
        start = 0 if place is None else _offset(key, place)
        found = storage.read(key, text.io, start, most)
        _check_offset(start, found)
        end = start + len(found.data)
        at_end = end >= found.size_bytes and (found.complete or text.run_ended)
        return _chunk(key, text.io, start, found.data, at_end, found, end)

    return await _ask(context, text, read)


async def tail(context: RequestContext, text: Text, before: str | None, max_bytes: int) -> Chunk:
    """The last lines before a cursor (None: of the whole), within `max_bytes` bytes.

    Raises:
        InvalidCursor, LogUnavailable, StorageUnavailable
    """
    place = None if before is None else _place(text, before)
    most = chunk_bytes(max_bytes)

    def read(storage: ComputeLogManager, key: LogKey) -> Chunk:
        end = storage.read(key, text.io, 0, 0).size_bytes if place is None else _offset(key, place)
        start = log_text.tail_read_start(end, most)
        found = storage.read(key, text.io, start, end - start)
        _check_offset(end, found)
        begin = log_text.tail_start(found.data, start, most)
        at_end = place is not None or (end >= found.size_bytes and (found.complete or text.run_ended))
        return _chunk(key, text.io, start + begin, found.data[begin:], at_end, found, end)

    return await _ask(context, text, read)


def _chunk(key: LogKey, io: ComputeIO, start: int, data: bytes, at_end: bool, found: LogBytes, read_to: int) -> Chunk:
    reaches_end = read_to >= found.size_bytes
    # A character that is not whole yet is not "more": asking again at once would give nothing.
    return chunk_of(
        key, io, start, data, at_end=at_end, complete=found.complete and reaches_end, has_more=not reaches_end
    )


def chunk_of(
    key: LogKey, io: ComputeIO, start: int, data: bytes, *, at_end: bool, complete: bool, has_more: bool
) -> Chunk:
    """The chunk of some bytes; see `Chunk`, and `log_text.decode_chunk` for `at_end`, which goes with `complete`."""
    decoded = log_text.decode_chunk(data, at_end)
    end = start + decoded.consumed_bytes
    return Chunk(
        attempt=key.attempt,
        data=decoded.text,
        start_cursor=cursors.log_cursor(key, io, start),
        cursor=cursors.log_cursor(key, io, end),
        has_more=has_more,
        complete=complete,
        invalid_bytes=decoded.invalid_bytes,
        start_byte=start,
        end_byte=end,
    )


def _place(text: Text, cursor: str) -> cursors.LogPlace:
    return cursors.parse_log_cursor(cursor, text.run_id, text.step_key, text.io)


def _offset(key: LogKey, place: cursors.LogPlace) -> int:
    if place.attempt != key.attempt:
        raise InvalidCursor(f"It belongs to attempt {place.attempt}; this is attempt {key.attempt}.")
    return place.offset


def _check_offset(offset: int, found: LogBytes) -> None:
    if offset > found.size_bytes:
        raise InvalidCursor(f"It names byte {offset}; the log has {found.size_bytes}.")


async def _ask(context: RequestContext, text: Text, read: Callable[[ComputeLogManager, LogKey], Chunk]) -> Chunk:
    """Read a stream, which the storage may know of though it didn't list it. All of it in one call: each is a way to
    another thread and back."""
    if not is_name(text.step_key) or (text.attempt is not None and not 1 <= text.attempt <= MAX_SEQ):
        raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED, "No step can have this key or attempt.")

    key = LogKey(text.run_id, text.step_key, text.attempt or 1)

    def call(storage: ComputeLogManager) -> Chunk:
        nonlocal key
        if text.attempt is None:
            # Where the reason is known why nothing can be listed, reading gives it.
            with suppress(LogUnavailable):
                key = LogKey(key.run_id, key.step_key, max(1, storage.latest_attempt(key.run_id, key.step_key)))
        return read(storage, key)

    try:
        return await context.calls.compute_logs(call)
    except LogUnavailable as error:
        told = await missing_logs.explained(context.calls, key, error)
        if told is error and error.reason == LogUnavailableReason.NOT_CAPTURED and await _is_shared(context, text):
            told = missing_logs.in_shared_log(key, error)
        raise told from error


async def _is_shared(context: RequestContext, text: Text) -> bool:
    if text.shared is not None:
        return text.shared
    with suppress(LogUnavailable):
        files = await context.loaders.log_files.get(text.run_id)
        return any(file.key.step_key == PROCESS_STEP_KEY for file in files)
    return False
