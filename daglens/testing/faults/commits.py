"""Transactions that take their time to commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daglens.storage.postgres import PostgresDatabase
    from daglens.storage.sqlite import SqliteDatabase


@contextmanager
def slow_commit(database: SqliteDatabase | PostgresDatabase, pause: Callable[[], object]) -> Iterator[None]:
    """Call `pause` in this process before each commit of a transaction that writes, while it holds its locks."""

    def before(statement: str, *_: Any) -> None:
        if "COMMIT" in statement:
            pause()

    name = "on_statement" if hasattr(database, "on_statement") else "on_message"
    noted = getattr(database, name)
    setattr(database, name, before)
    try:
        yield
    finally:
        setattr(database, name, noted)
