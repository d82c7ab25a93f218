"""Runs in one SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.connections import Statements
from daglens.storage.contract import Leases, RunStorage
from daglens.storage.drafts import now_us
from daglens.storage.records import (
    AddedRun,
    Health,
    NewRun,
    RunChanges,
    RunFilter,
    RunParts,
    RunPosition,
    RunRecord,
    RunSlice,
    RunState,
)
from daglens.storage.sql.run_filters import storable_query
from daglens.storage.sqlite import run_changes, run_writes
from daglens.storage.sqlite.config import SqliteConfig
from daglens.storage.sqlite.database import POOL_SIZE, SqliteDatabase
from daglens.storage.sqlite.leases import take_lease
from daglens.storage.sqlite.run_reads import DIALECT, count_runs, read_page, read_runs, read_texts


class SqliteRunStorage(RunStorage, Leases):
    """Runs in `<base_dir>/daglens.db`, shared with the event log storage on the same file."""

    Config: ClassVar[type[Any]] = SqliteConfig

    def __init__(self, database: SqliteDatabase, *, clock: Callable[[], int] = now_us) -> None:
        """Stand on `database`, which is released when this storage is closed.

        `clock` gives microseconds since 1970-01-01 UTC.
        """
        self.database = database
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

    def now_us(self) -> int:
        """This machine's clock."""
        return self._clock()

    # ------------------------------------------------------------ writing

    def add(self, run: NewRun) -> AddedRun:
        """See RunStorage."""
        now = self._clock()
        record = run_writes.checked_record(run, now)
        return self.database.write(lambda connection: run_writes.add(connection, record, now))

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """See RunStorage."""
        return self.database.write(lambda connection: run_writes.add_tags(connection, run_id, tags, self._clock()))

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        """See RunStorage."""
        return self.database.write(lambda connection: run_writes.project(connection, run_id, state, self._clock()))

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        """See RunStorage."""
        return self.database.write(
            lambda connection: run_writes.heartbeat(connection, run_id, timeout_s, self._clock())
        )

    def delete(self, run_ids: Sequence[str]) -> int:
        """See RunStorage."""
        return self.database.write(lambda connection: run_writes.delete(connection, run_ids, self._clock()))

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """See Leases."""
        return self.database.write(lambda connection: take_lease(connection, name, holder, ttl_s, self._clock()))

    # ------------------------------------------------------------ reading

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
        return self.database.read(lambda connection: read_runs(connection, run_ids, parts))

    def page(
        self,
        filter: RunFilter,
        *,
        newest_first: bool = True,
        after: RunPosition | None = None,
        limit: int = 25,
        parts: RunParts = RunParts.ALL,
    ) -> RunSlice:
        """See RunStorage."""
        query = storable_query(filter, DIALECT, newest_first=newest_first, after=after)
        if query is None:
            return RunSlice((), has_more=False)
        return self.database.read(lambda connection: read_page(connection, query, limit, parts))

    def count(self, filter: RunFilter, up_to: int) -> int:
        """See RunStorage."""
        query = storable_query(filter, DIALECT)
        if query is None:
            return 0
        return self.database.read(lambda connection: count_runs(connection, query, up_to))

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return self.database.read(lambda connection: read_texts(connection, "run_tags", "key", prefix, limit))

    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return self.database.read(
            lambda connection: read_texts(connection, "run_tags", "value", prefix, limit, key=key)
        )

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return self.database.read(lambda connection: read_texts(connection, "runs", "pipeline_name", prefix, limit))

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """See RunStorage."""
        return self.database.read(
            lambda connection: run_changes.read_changes(connection, after, limit, self._clock()), snapshot=True
        )
