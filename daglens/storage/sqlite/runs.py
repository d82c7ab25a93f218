"""Runs in one SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from daglens.storage.contract import RunStorage
from daglens.storage.drafts import now_us
from daglens.storage.errors import RunNotFound
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
from daglens.storage.sqlite import run_changes, run_writes
from daglens.storage.sqlite.config import SqliteConfig
from daglens.storage.sqlite.database import POOL_SIZE, SqliteDatabase
from daglens.storage.sqlite.rows import may_be_stored
from daglens.storage.sqlite.run_reads import count_runs, read_page, read_runs, read_texts, storable_query
from daglens.storage.sqlite.run_rows import project_row


class SqliteRunStorage(RunStorage):
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
            SqliteDatabase.shared(config.file(home), durability=config.durability, busy_timeout_s=config.busy_timeout_s)
        )

    @property
    def pool_size(self) -> int:
        """Reads that run at once to good effect; writes take turns."""
        return POOL_SIZE

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
        with self.database.writing() as connection:
            there = run_writes.find_or_refuse(connection, record, now)
            if there is not None:
                return AddedRun(there, created=False)
            run_writes.insert(connection, record)
        return AddedRun(record, created=True)

    def add_tags(self, run_id: str, tags: Sequence[tuple[str, str]]) -> RunRecord:
        """See RunStorage."""
        self._refuse_impossible(run_id)
        with self.database.writing() as connection:
            run_writes.add_tags(connection, run_id, tags, self._clock())
            return read_runs(connection, [run_id], RunParts.ALL)[run_id]

    def project(self, run_id: str, state: RunState) -> RunRecord | None:
        """See RunStorage."""
        if not may_be_stored(run_id):
            return None
        with self.database.writing() as connection:
            project_row(connection, run_id, state, self._clock())
            return read_runs(connection, [run_id], RunParts.ALL).get(run_id)

    def heartbeat(self, run_id: str, timeout_s: int) -> RunRecord:
        """See RunStorage."""
        self._refuse_impossible(run_id)
        with self.database.writing() as connection:
            run_writes.heartbeat(connection, run_id, timeout_s, self._clock())
            return read_runs(connection, [run_id], RunParts.ALL)[run_id]

    def delete(self, run_ids: Sequence[str]) -> int:
        """See RunStorage."""
        with self.database.writing() as connection:
            now = self._clock()
            run_writes.drop_old_tombstones(connection, now)
            return run_writes.delete(connection, run_ids, now)

    def _refuse_impossible(self, run_id: str) -> None:
        if not may_be_stored(run_id):
            raise RunNotFound(run_id)

    # ------------------------------------------------------------ reading

    def get(self, run_ids: Sequence[str], parts: RunParts = RunParts.ALL) -> Mapping[str, RunRecord]:
        """See RunStorage."""
        with self.database.reading(snapshot=True) as connection:
            return read_runs(connection, run_ids, parts)

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
        query = storable_query(filter, newest_first=newest_first, after=after)
        if query is None:
            return RunSlice((), has_more=False)
        with self.database.reading(snapshot=True) as connection:
            return read_page(connection, query, limit, parts)

    def count(self, filter: RunFilter, up_to: int) -> int:
        """See RunStorage."""
        query = storable_query(filter)
        if query is None:
            return 0
        with self.database.reading(snapshot=True) as connection:
            return count_runs(connection, query, up_to)

    def tag_keys(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        with self.database.reading() as connection:
            return read_texts(connection, "run_tags", "key", prefix, limit)

    def tag_values(self, key: str, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        with self.database.reading() as connection:
            return read_texts(connection, "run_tags", "value", prefix, limit, key=key)

    def pipeline_names(self, prefix: str, limit: int) -> Sequence[str]:
        """See RunStorage."""
        with self.database.reading() as connection:
            return read_texts(connection, "runs", "pipeline_name", prefix, limit)

    def changes(self, after: str | None, limit: int) -> RunChanges:
        """See RunStorage."""
        with self.database.reading(snapshot=True) as connection:
            return run_changes.read_changes(connection, after, limit)
