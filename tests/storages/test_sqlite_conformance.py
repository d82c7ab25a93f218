"""The SQLite storages keep the contracts' promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from daglens.testing import (
    Clock,
    EventLogStorageConformance,
    EventTombstoneExpiry,
    RunLeases,
    RunStorageConformance,
    RunTombstoneExpiry,
)


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[tuple[SqliteDatabase, SqliteDatabase]]:
    """Two databases on one file that share nothing else, as two processes have them."""
    path = tmp_path / "history" / "daglens.db"
    both = (SqliteDatabase(path), SqliteDatabase(path))
    yield both
    for database in both:
        database.close()


class TestSqliteRunStorage(RunStorageConformance, RunTombstoneExpiry, RunLeases):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def storage(self, databases: tuple[SqliteDatabase, SqliteDatabase], clock: Clock) -> SqliteRunStorage:
        return SqliteRunStorage(databases[0], clock=clock)

    @pytest.fixture
    def second(self, databases: tuple[SqliteDatabase, SqliteDatabase], clock: Clock) -> SqliteRunStorage:
        return SqliteRunStorage(databases[1], clock=clock)


class TestSqliteEventLogStorage(EventLogStorageConformance, EventTombstoneExpiry):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def storage(self, databases: tuple[SqliteDatabase, SqliteDatabase], clock: Clock) -> SqliteEventLogStorage:
        return SqliteEventLogStorage(databases[0], clock=clock)

    @pytest.fixture
    def second(self, databases: tuple[SqliteDatabase, SqliteDatabase], clock: Clock) -> SqliteEventLogStorage:
        return SqliteEventLogStorage(databases[1], clock=clock)
