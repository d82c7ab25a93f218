"""Runs in a Postgres database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.connections import Connections, Statements
from daglens.storage.contract import Leases, RunStorage
from daglens.storage.errors import RunNotFound
from daglens.storage.postgres import run_writes
from daglens.storage.postgres.config import PostgresConfig
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.postgres.leases import take_lease
from daglens.storage.postgres.run_changes import read_changes
from daglens.storage.postgres.run_reads import DIALECT, count_runs, read_page, read_runs, read_tag_values, read_texts
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
from daglens.storage.run_rules import new_record
from daglens.storage.sql.rows import may_be_stored
from daglens.storage.sql.run_filters import storable_query


class PostgresRunStorage(RunStorage, Leases):
    """Runs in one schema of a Postgres database, shared with the event log storage on the same schema."""

    Config: ClassVar[type[Any]] = PostgresConfig

    def __init__(self, database: PostgresDatabase, *, clock: Callable[[], int] | None = None) -> None:
        """Stand on `database`, which is released when this storage is closed.

        `clock` gives microseconds since 1970-01-01 UTC; None: the server's clock.
        """
        self.database = database
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

    def now_us(self) -> int:
        """The server's clock."""
        return self.database.clock() if self._own_clock is None else self._own_clock()

    # ------------------------------------------------------------ writing

    def add(self, run: NewRun) -> AddedRun:
        """See RunStorage."""
        now = self.now_us()
        record = new_record(run, now)
        there = run_writes.add(self.database, record, now)
        return AddedRun(record, created=True) if there is None else AddedRun(there, created=False)

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """See RunStorage."""
        self._refuse_impossible(run_id)
        return run_writes.add_tags(self.database, run_id, tags, self.now_us())

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        """See RunStorage."""
        return run_writes.project_run(self.database, run_id, state, self.now_us()) if may_be_stored(run_id) else None

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        """See RunStorage."""
        self._refuse_impossible(run_id)
        return run_writes.heartbeat(self.database, run_id, timeout_s, self.now_us())

    def delete(self, run_ids: Sequence[str]) -> int:
        """See RunStorage."""
        return run_writes.delete(self.database, run_ids, self.now_us())

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """See Leases."""
        return take_lease(self.database, name, holder, ttl_s, self.now_us())

    def _refuse_impossible(self, run_id: str) -> None:
        if not may_be_stored(run_id):
            raise RunNotFound(run_id)

    # ------------------------------------------------------------ reading

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
        return read_runs(self.database, run_ids, parts)

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
        return read_page(self.database, query, limit, parts)

    def count(self, filter: RunFilter, up_to: int) -> int:
        """See RunStorage."""
        query = storable_query(filter, DIALECT)
        return 0 if query is None else count_runs(self.database, query, up_to)

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return read_texts(self.database, "run_tags", "key", prefix, limit)

    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return read_tag_values(self.database, key, prefix, limit)

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        return read_texts(self.database, "runs", "pipeline_name", prefix, limit)

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """See RunStorage."""
        return read_changes(self.database, after, limit, None if self._own_clock is None else self._own_clock())
