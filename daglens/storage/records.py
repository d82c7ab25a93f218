"""What storages take and give: small immutable values. Times are int microseconds since 1970-01-01 UTC (`…_us`).

Answers are NamedTuples: to make one takes less time than a frozen dataclass, and so does their class, at each start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag, IntEnum, StrEnum, auto
from typing import Any, NamedTuple

MAX_SEQ = 2_147_483_647
"""The largest `seq`; GraphQL's Int ends there (contract: RUN_FULL)."""


class RunStatus(StrEnum):
    """Where a run stands. `rank` orders them: an event moves a run only upward."""

    QUEUED = "QUEUED"
    NOT_STARTED = "NOT_STARTED"
    STARTING = "STARTING"
    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"

    @property
    def rank(self) -> int:
        """0 (NOT_STARTED) to 5 (final)."""
        return _RANKS[self]

    @property
    def is_final(self) -> bool:
        """SUCCESS, FAILURE or CANCELED."""
        return _RANKS[self] == _FINAL_RANK


_FINAL_RANK = 5
_RANKS = {
    RunStatus.NOT_STARTED: 0,
    RunStatus.QUEUED: 1,
    RunStatus.STARTING: 2,
    RunStatus.STARTED: 3,
    RunStatus.CANCELING: 4,
    RunStatus.SUCCESS: _FINAL_RANK,
    RunStatus.FAILURE: _FINAL_RANK,
    RunStatus.CANCELED: _FINAL_RANK,
}
FINAL_STATUSES = frozenset(s for s in RunStatus if s.is_final)


class StepStatus(StrEnum):
    """Where a step stands by its own events. (ABANDONED is told by the run's end: resolvers.)"""

    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    SKIPPED = "SKIPPED"
    UP_FOR_RETRY = "UP_FOR_RETRY"

    @property
    def is_final(self) -> bool:
        """SUCCESS, FAILURE or SKIPPED."""
        return self not in (StepStatus.IN_PROGRESS, StepStatus.UP_FOR_RETRY)


class LogLevel(IntEnum):
    """Severity of an event, with the numbers of Python's logging."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


# ---------------------------------------------------------------- runs


class RunParts(Flag):
    """What of a run a reader needs; a storage may leave the rest empty to read fewer columns and tables."""

    NONE = 0
    TAGS = auto()
    CONFIG = auto()
    ALL = TAGS | CONFIG


class RunRecord(NamedTuple):
    """One run as stored. A NamedTuple, so that lists of many can be read as plain tuples.

    Attributes:
        tags: (key, value) pairs in order of key; empty when RunParts.TAGS was not asked for.
        run_config: JSON text; "{}" when there is none, and when RunParts.CONFIG was not asked for.
        step_keys_to_execute: None when the whole pipeline runs.
        created_at_us, updated_at_us, heartbeat_at_us: By the storage's clock. `updated_at_us` moves with status,
            tags, started_at_us and ended_at_us; not with heartbeats.
        started_at_us, ended_at_us: Timestamps of events.
        heartbeat_timeout_s: Seconds of silence after which the run is presumed dead; None: never had a heartbeat.
        presumed: The status is a FAILURE that nobody reported.
        projected_seq: `RunState.state_seq` of the newest state that was projected onto this row; 0 for none.
        created_with: `NewRun.fingerprint` of what the run was first created with.
    """

    run_id: str
    pipeline_name: str
    status: RunStatus
    tags: tuple[tuple[str, str], ...]
    run_config: str
    step_keys_to_execute: tuple[str, ...] | None
    parent_run_id: str | None
    root_run_id: str | None
    created_at_us: int
    updated_at_us: int
    started_at_us: int | None
    ended_at_us: int | None
    heartbeat_at_us: int | None
    heartbeat_timeout_s: int | None
    created_by: str | None
    presumed: bool
    projected_seq: int
    created_with: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to add. Only `run_id` and `pipeline_name` are needed; a complete record can be given (imports).

    Attributes:
        created_at_us: The storage's time when None.
        status: NOT_STARTED or QUEUED for a new run; any for an imported one.
        run_config: Any JSON value.
    """

    run_id: str
    pipeline_name: str
    status: RunStatus = RunStatus.NOT_STARTED
    tags: tuple[tuple[str, str], ...] = ()
    run_config: Any = field(default_factory=dict)
    step_keys_to_execute: tuple[str, ...] | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    created_at_us: int | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    created_by: str | None = None

    def fingerprint(self) -> str:
        """A digest of everything the creator gave: equal for equal input, value by value; tags in any order."""
        given = {
            "pipeline": self.pipeline_name,
            "status": self.status,
            "tags": sorted(self.tags),
            # As read back from JSON: keys are texts there, and only then can they be sorted.
            "config": json.loads(json.dumps(self.run_config)),
            "steps": self.step_keys_to_execute,
            "parent": self.parent_run_id,
            "root": self.root_run_id,
            "created": self.created_at_us,
            "started": self.started_at_us,
            "ended": self.ended_at_us,
        }
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


class AddedRun(NamedTuple):
    """Answer of `RunStorage.add`; `created` is False when the same run was there already."""

    run: RunRecord
    created: bool


@dataclass(frozen=True, slots=True)
class TagFilter:
    """A tag that must be on the run; `value` None asks for the key alone."""

    key: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """All parts must hold. Sequences mean any of, an empty one matches nothing, None is no condition.

    `…_after_us` is inclusive, `…_before_us` exclusive. Every one of `tags` must be on the run.
    `root_run_id` matches the root run itself, too.
    """

    run_ids: Sequence[str] | None = None
    pipeline_names: Sequence[str] | None = None
    statuses: Sequence[RunStatus] | None = None
    tags: Sequence[TagFilter] | None = None
    created_after_us: int | None = None
    created_before_us: int | None = None
    updated_after_us: int | None = None
    updated_before_us: int | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None

    @property
    def is_empty(self) -> bool:
        """True when no condition is given (every run matches)."""
        return self == RunFilter()


class RunPosition(NamedTuple):
    """Place of a run in a list: the list is ordered by these two, and both never change."""

    created_at_us: int
    run_id: str


class RunSlice(NamedTuple):
    """A page of runs; go on with `after=(last.created_at_us, last.run_id)`."""

    runs: Sequence[RunRecord]
    has_more: bool


class RunChanges(NamedTuple):
    """What changed after a position, in order of change, each run once (its latest change).

    Attributes:
        changed: Ids of runs created or changed (status, tags, started, ended).
        deleted: Ids of runs deleted.
        position: Where the next call goes on. Opaque; not ordered against other storages' positions.
        has_more: There were more than `limit`.
    """

    changed: Sequence[str]
    deleted: Sequence[str]
    position: str
    has_more: bool


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event to append. The storage gives it its `seq`.

    Attributes:
        event_id: Unique in the run; makes a retry safe. None: never taken for a duplicate.
        timestamp_us: The storage's time when None.
        data: The fields of the event type beyond those of Event, in their GraphQL names; JSON values.
    """

    event_type: str
    step_key: str | None = None
    level: LogLevel = LogLevel.INFO
    message: str = ""
    timestamp_us: int | None = None
    event_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class EventRecord(NamedTuple):
    """One event as stored. A NamedTuple, so that pages of many can be read as plain tuples. `data` is JSON text."""

    run_id: str
    seq: int
    event_id: str | None
    event_type: str
    step_key: str | None
    level: int
    message: str
    timestamp_us: int
    data: str


@dataclass(frozen=True, slots=True)
class EventFilter:
    """All parts must hold. Sequences mean any of, an empty one matches nothing, None is no condition."""

    event_types: Sequence[str] | None = None
    step_keys: Sequence[str] | None = None
    min_level: int | None = None


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Counts of a run; steps are counted by their present status (retrying ones are in none of the four)."""

    steps_in_progress: int = 0
    steps_succeeded: int = 0
    steps_failed: int = 0
    steps_skipped: int = 0
    materializations: int = 0
    expectations: int = 0
    expectations_failed: int = 0


@dataclass(frozen=True, slots=True)
class RunState:
    """What the run-level events of a log say of their run, folded (fold.py).

    Attributes:
        status: None before the first run-level event.
        presumed: `status` is a FAILURE that nobody reported; the recorder's own end replaces it.
        state_seq: seq of the newest event that changed this state; 0 for none. Only grows.
    """

    status: RunStatus | None = None
    started_at_us: int | None = None
    ended_at_us: int | None = None
    presumed: bool = False
    state_seq: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a run's log: where it ends and what it adds up to.

    Attributes:
        incarnation: 16 hexadecimal digits, random, made with the log; a log made anew after a deletion has another.
        last_seq: seq of the newest event; 0 when there is none. This is also the number of events.
        heard_at_us: When a recorder last appended, by the storage's clock; None when never.
        deleted: The run was deleted: the log takes no more events, and the rest of it goes or is gone.
    """

    run_id: str
    incarnation: str
    last_seq: int = 0
    state: RunState = RunState()
    counts: EventCounts = EventCounts()
    heard_at_us: int | None = None
    deleted: bool = False


class AttemptSpan(NamedTuple):
    """One attempt of a step: number from 1, status, and timestamps of its first and last event."""

    attempt: int
    status: StepStatus
    started_at_us: int | None
    ended_at_us: int | None


@dataclass(frozen=True, slots=True)
class StepState:
    """A step as its events tell it, folded (fold.py).

    Attributes:
        first_seq: seq of the first event that speaks of it; steps are listed in this order.
        spans: One per attempt, in order of attempt.
        started_at_us: Of the first attempt.
        ended_at_us: Of the last attempt; None while it goes on.
    """

    run_id: str
    step_key: str
    first_seq: int
    status: StepStatus
    spans: tuple[AttemptSpan, ...] = ()
    materializations: int = 0
    expectations: int = 0

    @property
    def attempts(self) -> int:
        """Number of the present attempt, at least 1."""
        return self.spans[-1].attempt if self.spans else 1

    @property
    def started_at_us(self) -> int | None:
        """When the first attempt began."""
        return self.spans[0].started_at_us if self.spans else None

    @property
    def ended_at_us(self) -> int | None:
        """When the last attempt ended."""
        return self.spans[-1].ended_at_us if self.spans and self.status.is_final else None


class Appended(NamedTuple):
    """Answer of `EventLogStorage.append`.

    Attributes:
        accepted: How many drafts were stored; they have the seqs first_seq … last_seq.
        duplicates: How many were left out, because the run has their event_id already.
        first_seq, last_seq: None when nothing was new.
        head: The head after the append.
        projected: True when the run row was projected in the same transaction.
    """

    accepted: int
    duplicates: int
    first_seq: int | None
    last_seq: int | None
    head: Head
    projected: bool = False


class EventsOrder(Enum):
    """Direction of a read."""

    OLDEST_FIRST = "OLDEST_FIRST"
    NEWEST_FIRST = "NEWEST_FIRST"


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A read of one run's log.

    Attributes:
        after_seq: Forward: events with a greater seq; None: from the first. Backward: events with a smaller seq;
            None: from the last.
        limit: At most this many events; 0 only asks for the head.
    """

    run_id: str
    after_seq: int | None = None
    limit: int = 100
    filter: EventFilter | None = None
    order: EventsOrder = EventsOrder.OLDEST_FIRST


class EventSlice(NamedTuple):
    """Answer to an EventQuery: head and events of one moment.

    Attributes:
        head: None when the run has no log (no event was ever appended, nor the run deleted).
        events: In the order asked for.
        through_seq: Every event up to here (backward: from here) was examined, those the filter left out included.
            With no event examined: forward the query's `after_seq` (0 for None), backward likewise (last_seq + 1 for
            None).
        has_more: There are events beyond `through_seq` in the direction of the read.
    """

    head: Head | None
    events: Sequence[EventRecord]
    through_seq: int
    has_more: bool


class LeftoversState(NamedTuple):
    """Answer of `Leftovers.finish_leftovers`.

    Attributes:
        finished: How many were finished since the last call.
        left: How many are still to be finished.
        what: What they are, in the plural, and where they go: "compute logs to s3://bucket".
        problem: Why some are left, as a sentence; None when nothing is wrong.
    """

    finished: int
    left: int
    what: str
    problem: str | None = None


# ---------------------------------------------------------------- compute logs, artifacts


class ComputeIO(StrEnum):
    """Which stream of a step."""

    STDOUT = "stdout"
    STDERR = "stderr"


class LogUnavailableReason(StrEnum):
    """Why a compute log can't be read."""

    NOT_CAPTURED = "NOT_CAPTURED"
    NOT_SHARED = "NOT_SHARED"
    NOT_UPLOADED_YET = "NOT_UPLOADED_YET"
    EXPIRED = "EXPIRED"
    FORBIDDEN = "FORBIDDEN"


PROCESS_STEP_KEY = "(process)"
"""Step key of the log that several steps of one process share (design 8)."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """Names the two streams of one attempt (from 1) of one step."""

    run_id: str
    step_key: str
    attempt: int = 1


class LogFile(NamedTuple):
    """One stream of one attempt, as listed.

    Attributes:
        complete: The writer closed it; it never grows again.
        truncated: More was written than is kept, and the storage knows.
        location: Where it is kept, in words of the storage (a path, a URL without secrets).
    """

    key: LogKey
    io: ComputeIO
    size_bytes: int
    complete: bool
    truncated: bool
    location: str


class LogBytes(NamedTuple):
    """Bytes of a log from an offset.

    Attributes:
        data: As written, byte for byte.
        size_bytes: Size of the whole log when it was read.
        complete, truncated: As in LogFile, read before `data`, so that `complete` and `start + len(data) ==
        size_bytes` is the end.
    """

    data: bytes
    size_bytes: int
    complete: bool
    truncated: bool


class Artifact(NamedTuple):
    """A file below the run's artifact folder; `path` is relative, with `/`."""

    path: str
    size_bytes: int
    modified_at_us: int


class ArtifactSlice(NamedTuple):
    """A page of artifacts in order of path; go on with `after=last.path`."""

    artifacts: Sequence[Artifact]
    has_more: bool


class Health(NamedTuple):
    """Whether a storage answers; `problem` is a sentence that tells what to do, None when healthy."""

    healthy: bool
    problem: str | None = None
