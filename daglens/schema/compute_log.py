"""Stdout and stderr of steps."""

from typing import Annotated, Union

import strawberry

from daglens.resolvers import compute_logs
from daglens.resolvers.errors import InvalidCursor
from daglens.schema.arguments import given
from daglens.schema.enums import ComputeIO, LogUnavailableReason
from daglens.schema.errors import Error, InvalidCursorError, RunNotFoundError
from daglens.schema.info import Info
from daglens.schema.scalars import BigInt, Cursor
from daglens.schema.selection import selected
from daglens.storage.errors import LogUnavailable, RunNotFound
from daglens.storage.records import RunRecord


@strawberry.type(
    description="`data` never ends inside a UTF-8 character; bytes that are no UTF-8 read as U+FFFD and are counted."
)
class ComputeLogChunk:
    attempt: int = strawberry.field(description="The attempt whose log this is.")
    data: str = strawberry.field(description="The text.")
    start_cursor: Cursor = strawberry.field(
        description="Before the first character: hand it to `tailOrError` as `before`."
    )
    cursor: Cursor = strawberry.field(description="Behind the last character: hand it back as `after`.")
    has_more: bool = strawberry.field(description="More was there when this was read.")
    complete: bool = strawberry.field(description="The stream is closed and this chunk reaches its end.")
    invalid_bytes: int = strawberry.field(description="How many bytes of this chunk were no UTF-8.")
    start_byte: BigInt = strawberry.field(description="Where the chunk begins in the file, in bytes.")
    end_byte: BigInt = strawberry.field(description="Where it ends.")


@strawberry.type(description="The log can't be read; `reason` says why.")
class ComputeLogUnavailableError(Error):
    reason: LogUnavailableReason = strawberry.field(description="Why, as a word for programs.")


ComputeLogChunkOrError = Annotated[
    Union[ComputeLogChunk, ComputeLogUnavailableError, RunNotFoundError, InvalidCursorError],
    strawberry.union("ComputeLogChunkOrError", description="Part of a log, or why there is none."),
]


def chunk_object(chunk: compute_logs.Chunk) -> ComputeLogChunk:
    """The object of a chunk."""
    return ComputeLogChunk(
        attempt=chunk.attempt,
        data=chunk.data,
        start_cursor=Cursor(chunk.start_cursor),
        cursor=Cursor(chunk.cursor),
        has_more=chunk.has_more,
        complete=chunk.complete,
        invalid_bytes=chunk.invalid_bytes,
        start_byte=BigInt(chunk.start_byte),
        end_byte=BigInt(chunk.end_byte),
    )


def chunk_error(error: LogUnavailable | RunNotFound | InvalidCursor) -> ComputeLogChunkOrError:
    """The member of the union for an exception of the resolvers."""
    if isinstance(error, RunNotFound):
        return RunNotFoundError.of(error)
    if isinstance(error, InvalidCursor):
        return InvalidCursorError.of(error)
    return ComputeLogUnavailableError(code=error.code, message=str(error), reason=LogUnavailableReason(error.reason))


@strawberry.type(description="Stdout or stderr of one attempt of a step.")
class ComputeLogFile:
    text: strawberry.Private[compute_logs.Text]
    io_type: ComputeIO = strawberry.field(description="Which stream.")
    path: str | None = strawberry.field(
        description="Where the log is kept, as the storage names it; null when nothing was captured."
    )
    size_bytes: BigInt = strawberry.field(description="How many bytes are kept at present.")
    complete: bool = strawberry.field(description="True once the step has closed the stream.")
    truncated: bool = strawberry.field(
        description="More was, or may have been, written than is kept: a limit was reached or the writer died."
    )
    download_url: str | None = strawberry.field(
        description="Absolute path (with the server's prefix) of the whole file, byte for byte, with range requests; "
        "null when there is none."
    )

    @strawberry.field(description="Text after a cursor, at most `maxBytes` of it (at most 4 MiB; below 4 counts as 4).")
    async def chunk_or_error(
        self,
        info: Info,
        after: Annotated[
            Cursor | None, strawberry.argument(description="A chunk's cursor; from the beginning when null.")
        ] = strawberry.UNSET,
        max_bytes: Annotated[int, strawberry.argument(description="How much of the file is read, in bytes.")] = 1048576,
    ) -> ComputeLogChunkOrError:
        try:
            return chunk_object(await compute_logs.chunk(info.context, self.text, given(after), max_bytes))
        except (LogUnavailable, RunNotFound, InvalidCursor) as error:
            return chunk_error(error)

    @strawberry.field(
        description="The last lines, within `maxBytes`, from a line's beginning where there is one; with `before`, the "
        "lines before that cursor: scrolling up."
    )
    async def tail_or_error(
        self,
        info: Info,
        max_bytes: Annotated[int, strawberry.argument(description="How much of the file is read, in bytes.")] = 65536,
        before: Annotated[
            Cursor | None, strawberry.argument(description="A chunk's startCursor; the end of the file when null.")
        ] = strawberry.UNSET,
    ) -> ComputeLogChunkOrError:
        try:
            return chunk_object(await compute_logs.tail(info.context, self.text, given(before), max_bytes))
        except (LogUnavailable, RunNotFound, InvalidCursor) as error:
            return chunk_error(error)


@strawberry.type(description="Captured stdout and stderr of one attempt of one step.")
class ComputeLog:
    run_id: strawberry.ID = strawberry.field(description="The run.")
    step_key: str = strawberry.field(
        description="The step; (process) for a log that several steps of one process share."
    )
    attempt: int = strawberry.field(description="The attempt whose output this is, from 1.")
    attempts: int = strawberry.field(
        description="Number of the latest attempt that has captured output; 0 when none has."
    )
    stdout: ComputeLogFile = strawberry.field(description="Standard output.")
    stderr: ComputeLogFile = strawberry.field(description="Standard error.")


_OF_TEXT = frozenset({"chunkOrError", "tailOrError"})
_TOLD_UNREAD = frozenset({"__typename", "runId", "stepKey", "stdout", "stderr"})
_TOLD_UNREAD_OF_FILE = frozenset({"__typename", "ioType"}) | _OF_TEXT


def text_object(info: Info, run: RunRecord, step_key: str, attempt: int | None) -> ComputeLog | None:
    """The object of a step's log where no more is selected of it than one piece of text: nothing is read for it yet.

    None: more is selected.
    """
    # What isn't selected is made up.
    if not selected(info) <= _TOLD_UNREAD:
        return None
    of_stdout, of_stderr = selected(info, "stdout"), selected(info, "stderr")
    if len(of_stdout & _OF_TEXT) + len(of_stderr & _OF_TEXT) != 1 or not of_stdout | of_stderr <= _TOLD_UNREAD_OF_FILE:
        return None
    stdout, stderr = (
        compute_logs.Stream(compute_logs.text_of_step(run, step_key, attempt, io), None, 0, False, False, None)
        for io in (ComputeIO.STDOUT, ComputeIO.STDERR)
    )
    return log_object(compute_logs.StepLog(run.run_id, step_key, attempt or 0, 0, stdout, stderr))


def log_object(log: compute_logs.StepLog) -> ComputeLog:
    """The object of a step's log."""
    return ComputeLog(
        run_id=strawberry.ID(log.run_id),
        step_key=log.step_key,
        attempt=log.attempt,
        attempts=log.attempts,
        stdout=_file(log.stdout),
        stderr=_file(log.stderr),
    )


def _file(stream: compute_logs.Stream) -> ComputeLogFile:
    return ComputeLogFile(
        text=stream.text,
        io_type=stream.text.io,
        path=stream.location,
        size_bytes=BigInt(stream.size_bytes),
        complete=stream.complete,
        truncated=stream.truncated,
        download_url=stream.download_url,
    )
