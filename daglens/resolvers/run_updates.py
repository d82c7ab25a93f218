"""Signs of life of a run's recorder, and tags."""

from __future__ import annotations

from collections.abc import Sequence

from daglens.resolvers.context import RequestContext
from daglens.resolvers.create_run import checked_tags
from daglens.resolvers.errors import InvalidInput
from daglens.resolvers.names import is_name
from daglens.storage.errors import InvalidName, RunNotFound, TooManyTags
from daglens.storage.records import RunRecord


async def heartbeat(context: RequestContext, run_id: str, timeout_s: int) -> RunRecord:
    """Note that the recorder lives, and the silence after which it is presumed dead; the run afterwards.

    Raises:
        InvalidInput: The timeout is below 1 s.
        RunNotFound, StorageUnavailable
    """
    if timeout_s < 1:
        raise InvalidInput("timeoutSeconds", f"It must be at least 1, not {timeout_s}.")
    if not is_name(run_id):
        raise RunNotFound(run_id)
    try:
        return await context.calls.runs(lambda storage: storage.heartbeat(run_id, timeout_s))
    except RunNotFound:
        raise RunNotFound(run_id) from None


async def add_tags(context: RequestContext, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
    """Add tags, replacing values of keys that are there; the run afterwards.

    Raises:
        InvalidInput, RunNotFound, StorageUnavailable
    """
    new = checked_tags(tags)
    if not is_name(run_id):
        raise RunNotFound(run_id)
    try:
        return await context.calls.runs(lambda storage: storage.add_tags(run_id, new))
    except RunNotFound:
        raise RunNotFound(run_id) from None
    except TooManyTags as error:
        raise InvalidInput("tags", str(error), code=error.code) from error
    except InvalidName as error:
        raise InvalidInput("tags", "The run storage can't take these tags.", code=error.code) from error
