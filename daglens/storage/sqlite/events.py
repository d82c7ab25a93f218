"""Events in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.connections import Statements
from daglens.storage.contract import EventLogStorage, RunStorage, Watch
from daglens.storage.drafts import DEFAULT_LIMITS, EventLimits, now_us, prepare, without_duplicates
from daglens.storage.errors import RunDeleted, RunFull
from daglens.storage.names import check_name
from daglens.storage.records import Appended, EventDraft, EventQuery, EventSlice, Head, Health, StepState
from daglens.storage.sqlite.append import Batch, append_batch
from daglens.storage.sqlite.config import SqliteConfig
from daglens.storage.sqlite.database import POOL_SIZE, SqliteDatabase
from daglens.storage.sqlite.event_deletion import close_heads, delete_events, drop_old_tombstone
from daglens.storage.sqlite.event_reads import read_heads, read_slices, read_steps


class SqliteEventLogStorage(EventLogStorage):
    """Events in `<base_dir>/daglens.db`, shared with the run storage on the same file."""

    Config: ClassVar[type[Any]] = SqliteConfig

    def __init__(
        self,
        database: SqliteDatabase,
        *,
        limits: EventLimits = DEFAULT_LIMITS,
        clock: Callable[[], int] = now_us,
    ) -> None:
        """Stand on `database`, which is released when this storage is closed.

        `clock` gives microseconds since 1970-01-01 UTC.
        """
        self.database = database
        self._limits = limits
        self._clock = clock
        self._closed = False

    @classmethod
    def from_config(cls, config: SqliteConfig, home: Path) -> Self:
        """The storage of an instance whose folder is `home`. The file is opened by the first call that needs it."""
        return cls(
            SqliteDatabase.shared(
                config.file(home),
                durability=config.durability,
                busy_timeout_s=config.busy_timeout_s,
                statement_timeout_s=config.statement_timeout_s,
            )
        )

    @property
    def pool_size(self) -> int:
        """Reads that run at once to good effect; writes take turns."""
        return POOL_SIZE

    @property
    def live_mode(self) -> str:
        """CHANGE_CHECK: the file is asked every 20 ms whether another process changed it."""
        return "CHANGE_CHECK"

    def statements(self) -> Statements:
        """See HasStatements."""
        return self.database.statements()

    def health(self) -> Health:
        """See Storage."""
        return self.database.health()

    def close(self) -> None:
        """See Storage."""
        if not self._closed:
            self._closed = True
            self.database.release()

    def projects_into(self, runs: RunStorage) -> bool:
        """True for the run storage on the same file."""
        return getattr(runs, "database", None) is self.database

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        """See EventLogStorage."""
        check_name(run_id, "run id")
        now = self._clock()
        events = prepare(drafts, now, self._limits)
        batch = Batch(run_id, without_duplicates(events, set()), len(events), now, heard)
        try:
            appended = self._append(batch)
        except RunDeleted:
            # Long ago? Tombstones go while something is deleted, which need not have been since.
            self.database.write(lambda connection: drop_old_tombstone(connection, run_id, now))
            appended = self._append(batch)
        if appended.accepted:
            self.database.watcher.tell((run_id,))
        return appended

    def _append(self, batch: Batch) -> Appended:
        try:
            return self.database.write(lambda connection: append_batch(connection, batch, all_new=True))
        except (sqlite3.IntegrityError, RunFull):
            # Some of them are there already: a writer that tries again. Now look first.
            return self.database.write(lambda connection: append_batch(connection, batch, all_new=False))

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        """See EventLogStorage. A filtered read looks at no more than 200,000 events."""
        if not queries:
            return []
        return self.database.read(lambda connection: read_slices(connection, queries), snapshot=True)

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        """See EventLogStorage."""
        found = self.database.read(lambda connection: read_heads(connection, run_ids))
        return {run_id: head for run_id, (_, head) in found.items()}

    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        """See EventLogStorage."""
        return self.database.read(lambda connection: read_steps(connection, run_ids, step_keys, limit))

    def close_runs(self, run_ids: Sequence[str]) -> None:
        """See EventLogStorage."""
        self.database.write(lambda connection: close_heads(connection, run_ids, self._clock()))
        self.database.watcher.tell(run_ids)

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        """See EventLogStorage. After the last event, space that became free is given back to the disk."""
        gone = self.database.write(lambda connection: delete_events(connection, run_id, max_events, self._clock()))
        if gone < max_events:
            self.database.give_back_space()
        return gone

    def watch(self, on_news: Callable[[str | None], None]) -> Watch:
        """See EventLogStorage."""
        return self.database.watcher.watch(on_news)
