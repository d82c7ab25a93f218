"""Appends are planned once per session of the server, and go on where a session doesn't keep what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.postgres.pool import Connection, give_back
from daglens.storage.records import EventDraft, EventQuery
from tests.storages.postgres_server import PostgresServer


@pytest.fixture
def events(postgres_config: PostgresConfig) -> Iterator[PostgresEventLogStorage]:
    """With its notifier closed, so that all messages are the appends', on one connection."""
    database = PostgresDatabase(postgres_config)
    database.notifier.close()
    yield PostgresEventLogStorage(database)
    database.close()


def sent(events: PostgresEventLogStorage, *numbers: int) -> list[str]:
    """First word of what each message of an append is about, behind its settings."""
    seen: list[str] = []
    events.database.on_message = lambda sql, parameters: seen.append(sql)
    events.append("r1", [EventDraft("LOG_MESSAGE", message=str(n), event_id=f"id {n}") for n in numbers])
    events.database.on_message = None
    return [sql.rpartition("SET LOCAL")[2].partition(";")[2].split()[0] for sql in seen]


@contextmanager
def connection_of(events: PostgresEventLogStorage) -> Iterator[Connection]:
    """The connection that the appends use."""
    taken = events.database.pool.take()
    try:
        yield taken.dbapi_connection
    finally:
        give_back(taken)


def on_its_connection(events: PostgresEventLogStorage, sql: str, parameters: object = None) -> list[str]:
    """Run a statement there; the first column of what it gives."""
    with connection_of(events) as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


def messages(events: PostgresEventLogStorage) -> list[tuple[int, str]]:
    (page,) = events.read([EventQuery("r1", limit=1000)])
    return [(event.seq, event.message) for event in page.events]


def test_planned_once(events: PostgresEventLogStorage) -> None:
    """Prepared at the first append of its kind, also when that finds duplicates, and then only carried out."""
    events.append("r1", [])
    assert sent(events, 1) == ["PREPARE", "EXECUTE"]
    assert sent(events, 2) == sent(events, 3) == ["EXECUTE"]
    assert sent(events, 3, 4)[:2] == ["PREPARE", "EXECUTE"]
    assert sent(events, 5, 6) == ["EXECUTE"]
    assert len(on_its_connection(events, "SELECT name FROM pg_prepared_statements")) == 2
    assert messages(events) == [(n, str(n)) for n in range(1, 7)]


def test_statement_that_was_lost(events: PostgresEventLogStorage) -> None:
    """The append is stored once all the same, and this process goes on without: something takes statements away."""
    events.append("r1", [])
    sent(events, 1)
    on_its_connection(events, "DEALLOCATE ALL")
    assert sent(events, 2) == ["EXECUTE", "WITH"]
    assert sent(events, 3) == ["WITH"]
    assert messages(events) == [(1, "1"), (2, "2"), (3, "3")]


def test_table_that_was_changed(events: PostgresEventLogStorage) -> None:
    """As a migration does under a running server: each session that has an older plan is given up at its next append,
    which is stored once all the same; then statements are planned once again."""
    events.append("r1", [])
    sent(events, 1)
    first = events.database.pool.take()
    sent(events, 2)  # by a second connection
    give_back(first)
    change = events.database.sql("ALTER TABLE {s}.event_heads ALTER COLUMN incarnation TYPE varchar(100)")
    on_its_connection(events, change)
    assert sent(events, 3) == ["EXECUTE", "WITH"]
    said = [sent(events, n) for n in range(4, 9)]
    assert said.count(["EXECUTE", "WITH"]) <= 1
    assert said[-2:] == [["EXECUTE"], ["EXECUTE"]]
    assert messages(events) == [(n, str(n)) for n in range(1, 9)]


def test_statement_that_is_there_unexpectedly(events: PostgresEventLogStorage) -> None:
    """As if another had prepared it in the same session."""
    events.append("r1", [])
    sent(events, 1)
    with connection_of(events) as connection:
        connection.kept.clear()
    assert sent(events, 2) == ["PREPARE", "WITH"]
    assert messages(events) == [(1, "1"), (2, "2")]


def test_plan_of_a_small_table_is_right_for_a_large_one(
    events: PostgresEventLogStorage, postgres: PostgresServer, postgres_schema: str
) -> None:
    """The plan is kept: so it goes by the index, although the tables have one page and the server has counted that."""
    events.append("r1", [EventDraft("STEP_START", step_key="s")])
    postgres.execute(f'ANALYZE "{postgres_schema}".event_heads, "{postgres_schema}".event_steps')
    for kind in ("LOG_MESSAGE", "STEP_OUTPUT", "STEP_MATERIALIZATION"):
        for count in (1, 2):
            told: list[tuple[str, object]] = []
            events.database.on_message = lambda sql, parameters, told=told: told.append((sql, parameters))
            events.append("r1", [EventDraft(kind, step_key="s")] * count)
            events.database.on_message = None
            sql, parameters = told[-1]
            plan = "\n".join(on_its_connection(events, sql.replace("EXECUTE", "EXPLAIN EXECUTE"), parameters))
            assert "Index Scan using ix_event_heads_run" in plan
            assert "Seq Scan" not in plan
            # One plan for all values: none of these is in it.
            assert "'r1'" not in plan
