"""Events in a Postgres database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from psycopg2.errors import UniqueViolation

from daglens.storage.connections import Connections, Statements
from daglens.storage.contract import EventLogStorage, RunStorage, Watch
from daglens.storage.drafts import DEFAULT_LIMITS, EventLimits, prepare, without_duplicates
from daglens.storage.errors import RunDeleted, RunFull
from daglens.storage.fold import tally
from daglens.storage.names import check_name
from daglens.storage.postgres.append import Batch, append_counting, append_under_lock
from daglens.storage.postgres.config import PostgresConfig
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.postgres.event_deletion import close_heads, delete_events, drop_old_tombstone
from daglens.storage.postgres.event_reads import read_heads, read_slices, read_steps
from daglens.storage.records import Appended, EventDraft, EventQuery, EventSlice, Head, Health, StepState


class PostgresEventLogStorage(EventLogStorage):
    """Events in one schema of a Postgres database, shared with the run storage on the same schema."""

    Config: ClassVar[type[Any]] = PostgresConfig

    def __init__(
        self,
        database: PostgresDatabase,
        *,
        limits: EventLimits = DEFAULT_LIMITS,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Stand on `database`, which is released when this storage is closed.

        `clock` gives microseconds since 1970-01-01 UTC; None: the server's clock.
        """
        self.database = database
        self._limits = limits
        self._own_clock = clock
        self._closed = False

    @classmethod
    def from_config(cls, config: PostgresConfig, home: Path) -> Self:
        """The storage of an instance. The first call that needs it connects."""
        return cls(PostgresDatabase.shared(config))

    @property
    def pool_size(self) -> int:
        """Calls that run at once; a further one waits for a connection."""
        return self.database.pool.size

    @property
    def live_mode(self) -> str:
        """LISTEN while notifications are heard; POLL while they are not, and while nobody watches."""
        return "LISTEN" if self.database.listener.hears else "POLL"

    def connections(self) -> Connections:
        """See HasConnections."""
        return self.database.connections()

    def statements(self) -> Statements:
        """See HasStatements."""
        return self.database.statements()

    def health(self) -> Health:
        """See Storage. A read-only standby counts as healthy: it can be read."""
        return self.database.health()

    def close(self) -> None:
        """See Storage."""
        if not self._closed:
            self._closed = True
            self.database.release()

    def projects_into(self, runs: RunStorage) -> bool:
        """True for the run storage on the same schema."""
        return getattr(runs, "database", None) is self.database

    def _clock(self) -> int:
        return self.database.clock() if self._own_clock is None else self._own_clock()

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        """See EventLogStorage. When every draft has an event_id, a connection that was lost is no error."""
        check_name(run_id, "run id")
        now = self._clock()
        events = prepare(drafts, now, self._limits)
        batch = Batch(run_id, without_duplicates(events, set()), len(events), now, heard)
        try:
            appended = self._append(batch)
        except RunDeleted:
            # Long ago? Tombstones go while something is deleted, which need not have been since.
            drop_old_tombstone(self.database, run_id, now)
            appended = self._append(batch)
        if appended.accepted:
            self.database.tell(run_id)
        return appended

    def _append(self, batch: Batch) -> Appended:
        try:
            counted = tally(batch.events)
            if counted is not None:
                appended = append_counting(self.database, batch, counted)
                if appended is not None:
                    return appended
            return append_under_lock(self.database, batch, all_new=True)
        except (UniqueViolation, RunFull):
            # Some of them are there already: a writer that tries again. Now look first.
            return append_under_lock(self.database, batch, all_new=False)

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        """See EventLogStorage. A filtered read looks at no more than 200,000 events."""
        return read_slices(self.database, queries) if queries else []

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        """See EventLogStorage."""
        return read_heads(self.database, run_ids)

    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        """See EventLogStorage."""
        return read_steps(self.database, run_ids, step_keys, limit)

    def close_runs(self, run_ids: Sequence[str]) -> None:
        """See EventLogStorage."""
        self.database.tell(*close_heads(self.database, run_ids, self._clock()))

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        """See EventLogStorage. The space is free for new rows when autovacuum has been there."""
        return delete_events(self.database, run_id, max_events, self._clock())

    def watch(self, on_news: Callable[[str | None], None]) -> Watch:
        """See EventLogStorage."""
        return self.database.listener.watch(on_news)
