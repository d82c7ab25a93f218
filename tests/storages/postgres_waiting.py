"""Holding a commit back, and waiting until somebody waits for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import psycopg2

from daglens.testing.threads import DEADLINE_S
from tests.storages.postgres_server import PostgresServer

_LOCK = 4711


def until(holds: Callable[[], bool], what: str) -> None:
    """Return when it holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def waiting(postgres: PostgresServer) -> int:
    """How many of the server's processes wait for a lock of another one."""
    ((count,),) = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return int(count)


@contextlib.contextmanager
def commits_held(postgres: PostgresServer, table: str, operation: str = "INSERT") -> Iterator[None]:
    """Transactions that write to a table (`schema.name`) stop in their commit, with all their locks, until the end."""
    schema = table.partition(".")[0]
    on_commit(postgres, table, f"PERFORM pg_advisory_xact_lock_shared({_LOCK})", operation)
    holder = psycopg2.connect(postgres.url)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield
    finally:
        holder.close()
        postgres.execute(f"DROP TRIGGER at_commit ON {table}; DROP FUNCTION {schema}.at_commit")


def on_commit(postgres: PostgresServer, table: str, statement: str, operation: str) -> None:
    """Run a PL/pgSQL statement in the commit of each transaction, once for each row that it wrote to the table."""
    schema = table.partition(".")[0]
    postgres.execute(
        f"CREATE FUNCTION {schema}.at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {statement}; RETURN NULL; END $$; "
        f"CREATE CONSTRAINT TRIGGER at_commit AFTER {operation} ON {table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.at_commit()"
    )
