"""Runs: lists, single ones, counts, and what is told of a run beyond its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daglens.resolvers import cursors, run_filters
from daglens.resolvers.context import RequestContext
from daglens.resolvers.limits import MAX_COUNT, MAX_NAMES, MAX_RUNS, capped
from daglens.resolvers.loaders import RunKey
from daglens.resolvers.names import is_name
from daglens.storage.contract import RunStorage
from daglens.storage.errors import DaglensError, RunNotFound
from daglens.storage.names import clean_text
from daglens.storage.records import EventCounts, Head, RunFilter, RunParts, RunPosition, RunRecord, RunStatus

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of a run list; `cursor` goes on behind its last run."""

    runs: Sequence[RunRecord]
    cursor: str
    has_more: bool


async def page(
    context: RequestContext, filter: RunFilter, *, newest_first: bool, after: str | None, limit: int, parts: RunParts
) -> RunPage:
    """A page of the runs that match.

    Raises:
        InvalidFilter, InvalidCursor, BadLimit, StorageUnavailable
    """
    wanted = run_filters.checked(filter)
    limit = context.page_limit(limit, MAX_RUNS)
    digest = cursors.filter_digest(filter)
    position = None if after is None else cursors.parse_run_cursor(after, newest_first, digest)
    found = await context.calls.runs(
        lambda storage: storage.page(wanted, newest_first=newest_first, after=position, limit=limit, parts=parts)
    )
    if found.runs:
        last = found.runs[-1]
        position = RunPosition(last.created_at_us, last.run_id)
    return RunPage(found.runs, cursors.run_cursor(newest_first, digest, position), found.has_more)


async def one(context: RequestContext, run_id: str, parts: RunParts) -> RunRecord:
    """The run of this id.

    Raises:
        RunNotFound, StorageUnavailable
    """
    found = await context.loaders.run.get(RunKey(run_id, parts)) if is_name(run_id) else None
    if found is None:
        raise RunNotFound(run_id)
    return found


async def count(context: RequestContext, filter: RunFilter, up_to: int) -> tuple[int, bool]:
    """How many runs match, at most `up_to`, and whether there may be more.

    Raises:
        InvalidFilter, BadLimit, StorageUnavailable
    """
    wanted = run_filters.checked(filter)
    up_to = capped(up_to, MAX_COUNT, "upTo")
    counted = await context.calls.runs(lambda storage: storage.count(wanted, up_to))
    return min(counted, up_to), counted > up_to


async def tag_keys(context: RequestContext, prefix: str, limit: int) -> Sequence[str]:
    """Tag keys in use with a prefix, sorted.

    Raises:
        BadLimit, StorageUnavailable
    """
    return await _names(context, prefix, limit, lambda storage, most: storage.tag_keys(prefix, most))


async def tag_values(context: RequestContext, key: str, prefix: str, limit: int) -> Sequence[str]:
    """Values in use for a tag key, likewise."""
    if not is_name(key):
        return await _names(context, prefix, limit, lambda storage, most: ())
    return await _names(context, prefix, limit, lambda storage, most: storage.tag_values(key, prefix, most))


async def pipeline_names(context: RequestContext, prefix: str, limit: int) -> Sequence[str]:
    """Names of pipelines that have runs, likewise."""
    return await _names(context, prefix, limit, lambda storage, most: storage.pipeline_names(prefix, most))


async def _names(
    context: RequestContext, prefix: str, limit: int, ask: Callable[[RunStorage, int], Sequence[str]]
) -> Sequence[str]:
    limit = context.page_limit(limit, MAX_NAMES)
    if limit == 0 or clean_text(prefix) != prefix:
        return ()
    return await context.calls.runs(lambda storage: ask(storage, limit))


async def heads(context: RequestContext, run_ids: Sequence[str]) -> Mapping[str, Head] | DaglensError:
    """Heads of runs, or why there are none: a list of runs stands also where the event log doesn't answer."""
    try:
        return await context.calls.events(lambda storage: storage.heads(run_ids))
    except DaglensError as error:
        return error


# ---------------------------------------------------------------- told of a run


def duration_s(run: RunRecord, now_us: int) -> float | None:
    """Seconds from start to end, or to now while it runs; None before the start. Never below 0."""
    return seconds_between(run.started_at_us, run.ended_at_us, run.status.is_final, now_us)


def seconds_between(started_at_us: int | None, ended_at_us: int | None, ended: bool, now_us: int) -> float | None:
    """Seconds from start to end, to now where it goes on; None when nobody said when it began, or when it ended."""
    if ended_at_us is None and not ended:
        ended_at_us = now_us
    if started_at_us is None or ended_at_us is None:
        return None
    return max(0, ended_at_us - started_at_us) / US_PER_S


def can_terminate(run: RunRecord) -> bool:
    """Neither final nor CANCELING."""
    return not run.status.is_final and run.status is not RunStatus.CANCELING


def last_heard_at_us(run: RunRecord, head: Head | None) -> int | None:
    """When the recorder last appended or sent a heartbeat, by the storage's clock; None when never."""
    heard = head.heard_at_us if head is not None else None
    return max((at for at in (run.heartbeat_at_us, heard) if at is not None), default=None)


def counts(head: Head | None) -> EventCounts:
    """What the log adds up to; all 0 without one."""
    return head.counts if head is not None and not head.deleted else EventCounts()
