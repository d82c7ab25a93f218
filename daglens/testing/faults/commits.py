"""Transactions that take their time to commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daglens.storage.sqlite import SqliteDatabase


@contextmanager
def slow_commit(database: SqliteDatabase, pause: Callable[[], object]) -> Iterator[None]:
    """Call `pause` before each commit of this process to a SQLite file, while the transaction holds the write lock.

    On PostgreSQL, where an append is one message with its commit, a deferred trigger that calls `pg_sleep` does it.
    """
    noted = database.on_statement

    def before(statement: str) -> None:
        if statement == "COMMIT":
            pause()

    database.on_statement = before
    try:
        yield
    finally:
        database.on_statement = noted
