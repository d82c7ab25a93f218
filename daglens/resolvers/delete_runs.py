"""Deleting finished runs by filter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from daglens import upkeep
from daglens.resolvers import run_filters
from daglens.resolvers.context import RequestContext
from daglens.resolvers.errors import InvalidFilter
from daglens.resolvers.limits import MAX_RUNS, capped
from daglens.resolvers.named_failures import naming
from daglens.storage.errors import DaglensError
from daglens.storage.records import RunFilter
from daglens.upkeep import DeletedRun

log = logging.getLogger("daglens.server")

_MAX_FAILURES: Final = 10
"""Runs that can't be deleted; beyond so many it is the storage, not the run."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What went, or would go.

    Attributes:
        has_more: More finished runs match, those that couldn't be deleted included.
        unfinished: Ids of runs that match and stay.
    """

    runs: Sequence[DeletedRun]
    has_more: bool
    unfinished: Sequence[str]


async def delete(context: RequestContext, filter: RunFilter, limit: int, *, dry_run: bool) -> Deletion:
    """Delete the oldest finished runs that match, at most `limit`. Interrupted anywhere, a second call carries on.

    A run that can't be deleted doesn't keep the others; its error is raised when no other was.

    Raises:
        InvalidFilter: It has no condition, or can't be used.
        BadLimit, StorageUnavailable
    """
    if filter.is_empty:
        raise InvalidFilter("It has no condition, so every run would go: give at least one.")
    wanted = run_filters.checked(filter)
    limit = capped(limit, MAX_RUNS)
    found = await context.calls.runs(lambda storage: upkeep.deletable(storage, wanted, limit))
    if dry_run:
        would_go = await context.calls.events(lambda _: upkeep.would_delete(naming(context.instance), found.finished))
        return Deletion(would_go, found.has_more, found.unfinished)
    gone: list[DeletedRun] = []
    failures: list[DaglensError] = []
    for run_id in found.finished:
        try:
            deleted = await _delete_one(context, run_id)
        except DaglensError as error:
            log.warning("Run %r could not be deleted: %s", run_id, error)
            failures.append(error)
            if len(failures) >= _MAX_FAILURES:
                break
            continue
        if deleted.was_there:
            gone.append(deleted)
    if failures and not gone:
        raise failures[0]
    return Deletion(gone, found.has_more or bool(failures), found.unfinished)


async def _delete_one(context: RequestContext, run_id: str) -> DeletedRun:
    # A call per run: between two of them others get their turn, and a server that is asked to stop does.
    return await context.calls.events(lambda _: upkeep.delete_run(naming(context.instance), run_id))
