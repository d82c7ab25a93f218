"""Appending to compute logs from anywhere."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from daglens.resolvers import runs
from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidInput
from daglens.resolvers.event_input import checked_name
from daglens.resolvers.limits import MAX_CHUNK_BYTES
from daglens.storage.errors import InvalidName, LogClosed, RunNotFound
from daglens.storage.records import MAX_SEQ, ComputeIO, LogKey, RunParts

_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class GivenLog:
    """A piece of a log as a client gives it; nothing of it is checked.

    Attributes:
        offset: Where the writer believes that it begins, in decoded bytes.
        is_base64: How the bytes stand in `data`; False: they are its UTF-8.
        complete: The stream ends behind it.
    """

    key: LogKey
    io: ComputeIO
    offset: int
    data: str
    is_base64: bool
    complete: bool


async def append(context: RequestContext, given: GivenLog) -> int:
    """Append what is new of the piece; the log's size afterwards.

    Raises:
        LogGap: The offset is beyond the present end.
        InvalidInput: A value can't be taken, or new bytes come after the end of the stream.
        RunNotFound: There is no such run, or it is being deleted.
        StorageUnavailable
    """
    key = given.key
    await runs.one(context, key.run_id, RunParts.NONE)
    data = _checked(given)
    try:
        size = await context.calls.compute_logs(
            lambda storage: storage.append(key, given.io, given.offset, data, complete=given.complete)
        )
    except LogClosed as error:
        raise InvalidInput("data", str(error), code=error.code) from error
    except InvalidName as error:
        raise InvalidInput("stepKey", "The compute log storage can't take it.", code=error.code) from error
    heads = await context.calls.events(lambda storage: storage.heads([key.run_id]))
    head = heads.get(key.run_id)
    if head is not None and head.deleted:
        # Whoever deletes the run may have been past its logs already. A head is closed before anything is removed, so
        # either they see these bytes, or we see the closed head.
        await context.calls.compute_logs(lambda storage: storage.delete(key.run_id))
        raise RunNotFound(key.run_id)
    return size


def _checked(given: GivenLog) -> bytes:
    """The bytes.

    Raises:
        InvalidInput
    """
    checked_name(given.key.step_key, "stepKey", "step key")
    if not 1 <= given.key.attempt <= MAX_SEQ:
        raise InvalidInput("attempt", "Attempts are counted from 1.")
    if given.offset < 0:
        raise InvalidInput("offset", "An offset is 0 or more.")
    data = _decoded(given)
    if len(data) > MAX_CHUNK_BYTES:
        raise InvalidInput("data", f"It has {len(data):,} bytes; send at most {MAX_CHUNK_BYTES:,} at once.")
    return data


def _decoded(given: GivenLog) -> bytes:
    if not given.is_base64:
        # What a browser's TextEncoder makes of half a surrogate pair, so that both count the same bytes.
        return _HALF_PAIR.sub("\ufffd", given.data).encode()
    try:
        return base64.b64decode(given.data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("data", "It is no base64 (RFC 4648, with padding, without line breaks).") from None
