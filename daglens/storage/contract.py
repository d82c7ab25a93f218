"""The four contracts that a storage fulfils. This is what a plug-in author reads.

All methods are synchronous and are called from many threads, and, where a storage is shared, from many processes.
What a method doesn't promise is not to be relied on. A class need not inherit from these: it fulfils a contract by
having its methods. `daglens.testing` holds the same promises as test suites.

Names come from clients. One that can't be a name (`names.check_name`) is refused with InvalidName where it would be
stored; where something is only looked for, changed or removed, nothing is found under it, without an error of its own.

How a class is made: its class attribute `Config` is a frozen dataclass that says what stands below `config:` in
dagster.yaml (secrets typed `daglens.config.secrets.Secret`), and `from_config(config, home)` makes a storage of it,
`home` being the instance's folder. A storage that can't reach what it stands on raises StorageUnavailable, with a
sentence that says what to do, from any method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, Self, runtime_checkable

from daglens.storage.drafts import now_us
from daglens.storage.log_places import LogPlace
from daglens.storage.records import (
    AddedRun,
    Appended,
    ArtifactSlice,
    ComputeIO,
    EventDraft,
    EventQuery,
    EventSlice,
    Head,
    Health,
    LeftoversState,
    LogBytes,
    LogFile,
    LogKey,
    NewRun,
    RunChanges,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
    RunSlice,
    RunState,
    StepState,
)

TOMBSTONE_DAYS = 90
"""How long a deleted run's id stays closed."""

MAX_TAGS = 200
"""Tags that one run may have."""


@dataclass(frozen=True, slots=True)
class NoConfig:
    """The configuration of a class that takes none."""


class Storage(Protocol):
    """What all four kinds have in common."""

    Config: ClassVar[type[Any]] = NoConfig

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Self:
        """Make the storage. `config` is an instance of `Config`; relative paths and defaults are below `home`."""
        return cls()

    @property
    def pool_size(self) -> int:
        """How many calls may run at once to good effect, at least 1; the server keeps to it."""
        return 8

    def health(self) -> Health:
        """Whether the storage answers now. Never raises; takes at most a few seconds."""
        return Health(True)

    def close(self) -> None:
        """Give back connections, threads and files. May be called twice; other methods aren't called after it."""
        return


@runtime_checkable
class RunStorage(Storage, Protocol):
    """Runs over time, and answers to questions for subsets of them. Knows nothing of single events."""

    @abstractmethod
    def add(self, run: NewRun) -> AddedRun:
        """Add a run, with its tags, all or nothing. Two calls at once with one id: one creates, the other finds it.

        Raises:
            RunConflict: A run with this id was created with other values (`NewRun.fingerprint`).
            RunDeleted: A run of this id was deleted in the last 90 days.
            InvalidName: Run id, pipeline name or a tag key is empty, too long (255 characters) or not storable.
            TooManyTags: More than 200.
        """
        ...

    @abstractmethod
    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """The runs of these ids (at most 1,000) that exist, by id."""
        ...

    @abstractmethod
    def page(
        self,
        filter: RunFilter,
        *,
        newest_first: bool = True,
        after: RunPosition | None = None,
        limit: int = 25,
        parts: RunParts = RunParts.ALL,
    ) -> RunSlice:
        """Runs that match, ordered by (created_at_us, run_id), those beyond `after` in that direction, at most
        `limit` (0 … 1,000).

        Any walk of pages, whatever is inserted and deleted meanwhile, gives each run that was there and matched
        throughout exactly once. The cost doesn't grow with the number of pages walked.
        """
        ...

    @abstractmethod
    def count(self, filter: RunFilter, up_to: int) -> int:
        """How many runs match, counted no further than `up_to + 1` (so that more than `up_to` means: there are
        more)."""
        ...

    @abstractmethod
    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """Add tags, replacing the values of keys that are there; the run afterwards. All or none.

        Raises:
            RunNotFound: There is no such run.
            TooManyTags: The run would have more than 200.
            InvalidName: A key is empty, too long or not storable.
        """
        ...

    @abstractmethod
    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        """Tag keys in use that begin with `prefix`, in order of code points, at most `limit`; without reading every
        tag."""
        ...

    @abstractmethod
    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        """Values in use for `key` that begin with `prefix`, likewise."""
        ...

    @abstractmethod
    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        """Names of pipelines that have runs, likewise."""
        ...

    @abstractmethod
    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        """Write what the event log says of the run (`fold.project`); the run afterwards, None when there is no such
        run.

        A state that is not newer (`state_seq`) than what the row was projected to changes nothing, so late and
        repeated calls are harmless.
        """
        ...

    @abstractmethod
    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        """Note that the recorder lives (by the storage's clock) and its timeout. `updated_at_us` stays.

        Raises:
            RunNotFound: There is no such run.
        """
        ...

    @abstractmethod
    def delete(self, run_ids: Sequence[str]) -> int:
        """Delete rows and tags of these runs (at most 1,000), leaving tombstones for 90 days; how many rows went.

        An id without a row gets a tombstone too. Tombstones older than 90 days go on the way.
        """
        ...

    def now_us(self) -> int:
        """The storage's clock, in microseconds since 1970-01-01 UTC: what heartbeats are compared with."""
        return now_us()

    @abstractmethod
    def changes(self, after: str | None, limit: int) -> RunChanges:
        """Runs created, changed (status, tags, started, ended) or deleted since a position; `after` None: only the
        position of now.

        No change is lost, also when transactions overlap: what was not visible yet when a position was given has a
        later one. Nor is a deletion that was forgotten with its tombstone: a position from before it is refused.

        Raises:
            InvalidName: `after` is no position of this storage, or one so old that deletions since are forgotten.
        """
        ...


@runtime_checkable
class Leases(Protocol):
    """What a run storage may offer beside its contract: leases, for work that one process at a time should do.

    A storage that several servers share does well to have them. Without, each server does that work: twice is harmless.
    """

    @abstractmethod
    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take the lease `name`, or keep it, for `ttl_s` seconds from now, by the storage's clock; 0 gives it back.

        True: `holder` has it, and nobody else does before that time is over. False: somebody else has it. Of several
        who ask at once for one that is free, exactly one is told True.

        Raises:
            InvalidName: Name or holder is empty, too long or not storable.
        """
        ...


@runtime_checkable
class Leftovers(Protocol):
    """What any storage may offer beside its contract: to finish what processes of this machine that died left undone.

    Servers ask for it every 10 seconds, and `daglens recorder flush` until nothing is left.
    """

    @abstractmethod
    def finish_leftovers(self, timeout_s: float) -> LeftoversState:
        """Begin with what there is, and wait for its end, at most so many seconds; 0 waits for nothing.

        What isn't finished then goes on while the process runs. What a living process has is left to it. Safe to call
        from many processes at once: each thing is finished by one of them.
        """
        ...


class Watch(Protocol):
    """A watch that goes on until it is stopped."""

    def stop(self) -> None:
        """End it; after this returns, `on_news` is not called any more. May be called twice."""
        ...


@runtime_checkable
class EventLogStorage(Storage, Protocol):
    """Append-only record of what happened in each run.

    `seq` is dense per run: 1, 2, 3, … A reader never sees `n` before everything below `n`.
    """

    @abstractmethod
    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        """Store the drafts, in order, all or none; give each the next seq of its run. Makes the log when it is missing.

        A draft whose event_id the run has already (or that stands earlier in the batch) is counted as a duplicate and
        not stored: so a writer can retry blindly, also while its first try is still uncommitted. `heard`: the batch
        is a sign of life of the recorder. Head, counts and step states (fold.py) move in the same transaction. When
        this returns, the events survive `kill -9` of every process. How long concurrent appends to one run wait for
        each other is unspecified.

        Raises:
            RunDeleted: The run was deleted in the last 90 days, or its events are still being removed. Nothing was
                stored.
            EventTooLarge: A draft's data is over the limit. Nothing was stored.
            InvalidName: Run id, event type, step key or event id can't be one. Nothing was stored.
            RunFull: The run would have more than 2,147,483,647 events. Nothing was stored.
        """
        ...

    @abstractmethod
    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        """One slice per query, in order. Head and events of a slice are of one moment; slices may be of different ones.

        A read with a filter may stop early, with fewer events than there are and `has_more`: then `through_seq` has
        advanced.
        """
        ...

    @abstractmethod
    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        """Heads of the runs (any number) that have a log or were deleted, by id. Reads no events."""
        ...

    @abstractmethod
    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        """Step states per run, in order of first appearance, at most `limit` per run; None means all steps. Reads no
        events."""
        ...

    @abstractmethod
    def close_runs(self, run_ids: Sequence[str]) -> None:
        """Begin deletion: mark the heads deleted (made when missing). An append that comes after raises RunDeleted;
        one that came before counts."""
        ...

    @abstractmethod
    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        """Remove at most `max_events` events of a closed run, and its step states with the last; how many went: fewer
        than `max_events` means done.

        The closed head stays as a tombstone for 90 days; older ones go on the way. A run that isn't closed keeps
        everything (0).
        """
        ...

    def watch(self, on_news: Callable[[str | None], None]) -> Watch:
        """Call `on_news(run_id)` soon after events of a run were committed, or the run was closed, by anybody; None
        means: any run may have news.

        A hint only: it may come late or twice, and who watches must bear that one is lost (it polls, too). `on_news`
        is called from any thread, returns at once, and may raise: that ends nothing.
        """
        return _NoWatch()

    @property
    def live_mode(self) -> str:
        """How the watch learns of other processes' events, in one upper-case word; POLL: it doesn't."""
        return "POLL"

    def projects_into(self, runs: RunStorage) -> bool:
        """True when `append` also projects the run row of `runs` in its own transaction."""
        return False


class _NoWatch:
    def stop(self) -> None:
        """Nothing to end."""


class LogCapture(Protocol):
    """Two local files that a step's descriptors 1 and 2 are written to while it runs."""

    @property
    def stdout_path(self) -> Path:
        """Opened for append by the writer; exists."""
        ...

    @property
    def stderr_path(self) -> Path:
        """Opened for append by the writer; exists."""
        ...

    def close(self, *, truncated: bool = False) -> None:
        """The step has ended: both streams are complete. `truncated`: more was written than is kept. May be called
        twice."""
        ...


@runtime_checkable
class ComputeLogManager(Storage, Protocol):
    """Copies of stdout and stderr per step attempt, live and afterwards."""

    @abstractmethod
    def capture(self, key: LogKey) -> LogCapture | None:
        """Begin to capture; the log exists (empty) when this returns. None: this manager keeps no logs.

        Raises:
            LogClosed: This attempt was captured before and is complete.
            InvalidName: Run id or step key can't be one.
        """
        ...

    @abstractmethod
    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        """Append bytes whose first stands at `offset`; the size afterwards. What stands before the present end is
        skipped, the rest appended.

        With `complete` the stream is closed after it. A repeated call is harmless.

        Raises:
            LogGap: `offset` is beyond the present end.
            LogClosed: New bytes after the stream was closed.
            InvalidName: Run id or step key can't be one.
        """
        ...

    @abstractmethod
    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        """At most `max_bytes` from byte `start`; no bytes when `start` is at or beyond the end.

        Raises:
            LogUnavailable: With the reason; NOT_CAPTURED when there is no such log.
        """
        ...

    @abstractmethod
    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        """The log files of each run, ordered by step key, attempt, stdout before stderr; a run without logs has none.

        Raises:
            LogUnavailable: FORBIDDEN, when whoever keeps the logs refuses to list them. No other reason.
        """
        ...

    def latest_attempt(self, run_id: str, step_key: str) -> int:
        """The latest attempt of the step that has a log, as `list` tells it; 0: none has one.

        For those who want nothing but the text of a step. Worth an own answer where it can be told sooner than a list.

        Raises:
            LogUnavailable: As `list`.
        """
        files = self.list([run_id]).get(run_id, ())
        return max((file.key.attempt for file in files if file.key.step_key == step_key), default=0)

    @abstractmethod
    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        """Close a stream without new bytes. May be called twice."""
        ...

    @abstractmethod
    def delete(self, run_id: str) -> int:
        """Remove every log of the run; bytes that went. A run without logs: 0."""
        ...

    def link(self, key: LogKey, io: ComputeIO) -> str | None:
        """An address from which a browser can fetch the whole file without this server; None: there is none."""
        return None

    @property
    def place(self) -> LogPlace | None:
        """Where this process keeps the logs that it captures; None: it doesn't say.

        LOGS_CAPTURED tells it, so that who doesn't find a log learns why: without it the reason is NOT_CAPTURED.
        """
        return None

    @property
    def least_poll_s(self) -> float:
        """Seconds that should pass between two looks at a log that grows; 0: as often as the server likes (0.25 s).

        More than 0 where a look costs money, or shows nothing new sooner.
        """
        return 0.0


@runtime_checkable
class ArtifactStorage(Storage, Protocol):
    """One folder for the file artifacts of each run."""

    @abstractmethod
    def folder(self, run_id: str) -> Path:
        """The run's folder, made when missing: a recorder writes files there.

        Raises:
            InvalidName: The run id can't be one.
        """
        ...

    @abstractmethod
    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        """Files below the run's folder in order of path (by code points), those beyond `after`; symbolic links that
        lead out are left out."""
        ...

    @abstractmethod
    def open(self, run_id: str, path: str) -> BinaryIO:
        """Open a file for reading (seekable).

        Raises:
            ArtifactNotFound: There is no such file, or `path` leads out of the run's folder.
        """
        ...

    @abstractmethod
    def delete(self, run_id: str) -> int:
        """Remove the run's folder; bytes that went. A run without one: 0."""
        ...
