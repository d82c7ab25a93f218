"""What SQLite and PostgreSQL tell of the statements that a process has sent them: /metrics shows it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daglens.storage.connections import HasStatements
from daglens.storage.postgres.config import PostgresConfig
from daglens.storage.postgres.events import PostgresEventLogStorage
from daglens.storage.postgres.runs import PostgresRunStorage
from daglens.storage.records import EventDraft, EventQuery, NewRun, RunFilter
from daglens.storage.sqlite.config import SqliteConfig
from daglens.storage.sqlite.events import SqliteEventLogStorage
from daglens.storage.sqlite.runs import SqliteRunStorage

THREADS, READS = 6, 400


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[SqliteRunStorage]:
    storage = SqliteRunStorage.from_config(SqliteConfig(), tmp_path)
    storage.add(NewRun("run", "p", tags=(("team", "core"),)))
    yield storage
    storage.close()


@pytest.fixture
def events(tmp_path: Path, runs: SqliteRunStorage) -> Iterator[SqliteEventLogStorage]:
    """On the same file."""
    storage = SqliteEventLogStorage.from_config(SqliteConfig(), tmp_path)
    yield storage
    storage.close()


def test_every_statement_of_sqlite_counts(runs: SqliteRunStorage, events: SqliteEventLogStorage) -> None:
    """As many as SQLite itself says that it has carried out; storages on one file tell the same."""
    assert all(isinstance(storage, HasStatements) for storage in (runs, events))
    events.append("run", [EventDraft("RUN_START")])
    carried_out: list[str] = []
    before = runs.statements()
    runs.database.on_statement = carried_out.append
    runs.page(RunFilter())
    runs.get(["run"])
    events.append("run", [EventDraft("LOG_MESSAGE")])
    events.read([EventQuery("run", None, 10)])
    events.heads(["run"])
    after = runs.statements()
    assert after.count - before.count == len(carried_out) >= 8
    assert after.seconds > before.seconds
    assert events.statements() == after
    assert after.database.endswith("daglens.db")


def test_threads_lose_no_statement(runs: SqliteRunStorage) -> None:
    """However often Python changes from one to another."""
    interval = sys.getswitchinterval()
    before = runs.statements().count
    runs.count(RunFilter(), 1)
    each = runs.statements().count - before

    def read(_: int) -> None:
        for _ in range(READS):
            runs.count(RunFilter(), 1)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(read, range(THREADS)))
    finally:
        sys.setswitchinterval(interval)
    assert runs.statements().count - before == each * (1 + THREADS * READS)


def test_looking_for_changes_does_not_count(tmp_path: Path, events: SqliteEventLogStorage) -> None:
    """The file is asked 50 times a second while somebody watches: that would hide what is asked for clients."""
    from daglens.storage.sqlite.database import SqliteDatabase

    heard = threading.Event()
    watch = events.watch(lambda run_id: heard.set())
    another = SqliteEventLogStorage(SqliteDatabase(events.database.path))
    try:
        before = events.statements().count
        another.append("run", [EventDraft("LOG_MESSAGE")])
        assert heard.wait(60)
        assert events.statements().count == before
    finally:
        watch.stop()
        another.database.close()


def test_messages_to_postgres_count(postgres_config: PostgresConfig) -> None:
    """With their time; storages on one schema tell the same, and no password."""
    runs = PostgresRunStorage.from_config(postgres_config, Path("/"))
    events = PostgresEventLogStorage.from_config(postgres_config, Path("/"))
    try:
        assert isinstance(runs, HasStatements)
        runs.page(RunFilter())
        before = runs.statements()
        runs.page(RunFilter())
        after = events.statements()
        assert after.count == before.count + 1
        assert after.seconds > before.seconds > 0
        assert after.database.endswith(postgres_config.schema_name)
    finally:
        runs.close()
        events.close()
