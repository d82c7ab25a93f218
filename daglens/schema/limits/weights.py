"""What fields cost. One point is one row that a storage may have to read.

A field that isn't named here costs nothing when it is a value, and a tenth of a point when it is an object that comes
with its row (an error, an entry of metadata); of a list of these, `USUAL` are reckoned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from daglens.resolvers.limits import (
    MAX_ARTIFACTS,
    MAX_CHUNK_BYTES,
    MAX_COUNT,
    MAX_EVENTS,
    MAX_NAMES,
    MAX_RUNS,
    MAX_STEPS,
)

TENTHS: Final = 10
USUAL: Final = 5
LISTING: Final = 50
"""Listing a folder, or what a bucket has below a name: one for each run."""
_INTROSPECTION: Final = 20_000
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Weight:
    """Points of a field.

    Attributes:
        points: Of the field itself.
        counted: The argument that says how many rows are asked for.
        counts_items: That argument is a list, and its length counts.
        most: Rows that are given at most, whatever is asked for.
        per: So many of what is counted are one row.
        usual: Rows, where no argument says how many.
        is_list: The field is the list of these rows.
        is_page: The list of these rows stands below the field (`PAGES`).
    """

    points: int = 0
    counted: str | None = None
    counts_items: bool = False
    most: int = 1
    per: int = 1
    usual: int = 0
    is_list: bool = False
    is_page: bool = False


_EVENTS = Weight(1, counted="limit", most=MAX_EVENTS, is_page=True)
_NAMES = Weight(1, counted="limit", most=MAX_NAMES)

WEIGHTS: Final[Mapping[tuple[str, str], Weight]] = {
    ("Query", "instance"): Weight(1),
    ("Query", "runsOrError"): Weight(1, counted="limit", most=MAX_RUNS, is_page=True),
    ("Query", "runOrError"): Weight(1),
    ("Query", "runCountOrError"): Weight(1, counted="upTo", most=MAX_COUNT, per=100),
    ("Query", "runEventsOrError"): _EVENTS,
    ("Query", "runTagKeys"): _NAMES,
    ("Query", "runTagValues"): _NAMES,
    ("Query", "pipelineNames"): _NAMES,
    ("Query", "__schema"): Weight(_INTROSPECTION),
    ("Query", "__type"): Weight(_INTROSPECTION // 20),
    ("Run", "tags"): Weight(1),
    ("Run", "stats"): Weight(1),
    ("Run", "runConfigYaml"): Weight(1),
    ("Run", "stepStats"): Weight(1, counted="limit", most=MAX_STEPS, is_list=True),
    ("Run", "events"): _EVENTS,
    ("Run", "computeLogs"): Weight(LISTING, usual=USUAL, is_list=True),
    ("Run", "computeLog"): Weight(LISTING),
    ("Run", "artifacts"): Weight(LISTING, counted="limit", most=MAX_ARTIFACTS, is_page=True),
    ("ComputeLogFile", "chunkOrError"): Weight(1, counted="maxBytes", most=MAX_CHUNK_BYTES, per=16 * _KIB),
    ("ComputeLogFile", "tailOrError"): Weight(1, counted="maxBytes", most=MAX_CHUNK_BYTES, per=16 * _KIB),
    ("StorageInfo", "healthy"): Weight(1),
    ("StorageInfo", "problem"): Weight(1),
    ("Mutation", "createRun"): Weight(10),
    ("Mutation", "reportEvents"): Weight(10, counted="events", counts_items=True),
    ("Mutation", "heartbeat"): Weight(10),
    ("Mutation", "appendComputeLog"): Weight(10),
    ("Mutation", "addRunTags"): Weight(10),
    ("Mutation", "terminateRun"): Weight(10),
    ("Mutation", "deleteRuns"): Weight(LISTING, counted="limit", most=MAX_RUNS),
    # Of a subscription, one message counts: the largest that it may have.
    ("Subscription", "runEvents"): Weight(1, usual=MAX_EVENTS, is_page=True),
    ("Subscription", "runs"): Weight(1, counted="limit", most=MAX_RUNS, is_page=True),
    ("Subscription", "computeLog"): Weight(1, usual=64),
}

PAGES: Final = frozenset(
    {
        ("RunPage", "nodes"),
        ("EventPage", "nodes"),
        ("ArtifactPage", "nodes"),
        ("RunEventsBatch", "events"),
        ("RunsBatch", "changed"),
    }
)
"""Lists whose rows the field above has asked for."""
