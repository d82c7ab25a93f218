"""Statements that a session of the server keeps, so that it plans them once.

Of the 200 µs of a server's core that the append of one event took, 130 went into reading and planning the statement.
What is kept belongs to a session. So it is made only where a connection leads to one: behind a PgBouncer in
transaction mode each transaction may go to another session, and nothing is kept.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import errorcodes

_PARAMETER = re.compile(r"%\((\w+)\)s")

# One plan for all values, made once and for good. Without enable_seqscan = off one that was made while a table had a
# page would read the whole table, until the server's next ANALYZE of it.
_SETTINGS = "SET LOCAL plan_cache_mode = force_generic_plan;SET LOCAL enable_seqscan = off;"

OUTDATED = errorcodes.FEATURE_NOT_SUPPORTED
"""What it says, among other things, when a statement that it keeps stands for columns that have changed."""

NOT_KEPT = frozenset(
    {
        errorcodes.INVALID_SQL_STATEMENT_NAME,
        errorcodes.DUPLICATE_PREPARED_STATEMENT,
        OUTDATED,
    }
)
"""What the server says when a statement isn't there, is there unexpectedly, or stands for columns that have changed."""


class Session(psycopg2.extensions.connection):  # type: ignore[misc] # psycopg2 has no types
    """A connection, and what is kept at its other end.

    Attributes:
        kept: Names of the statements that were prepared; None where none can be.
    """

    kept: set[str] | None = None

    def look_for_pooler(self) -> None:
        """Let statements be kept if the server itself is at the other end.

        A pooler gives its clients process ids of its own making, as theirs is no session.

        Raises:
            psycopg2.Error: What the server says.
        """
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.pg_backend_pid()")
            row: tuple[Any, ...] | None = cursor.fetchone()
        self.kept = set() if row == (self.info.backend_pid,) else None


class Prepared(NamedTuple):
    """A statement to keep: its name, the message that makes it, and the one that carries it out."""

    name: str
    prepare: str
    execute: str


@lru_cache(maxsize=4096)
def prepared(sql: str) -> Prepared:
    """Of a statement in which each parameter bears its type: `%(count)s::bigint`."""
    names = list(dict.fromkeys(_PARAMETER.findall(sql)))
    places = {name: f"${place}" for place, name in enumerate(names, 1)}
    name = f"daglens_{hashlib.sha256(sql.encode()).hexdigest()[:16]}"
    values = ", ".join(f"%({name})s" for name in names)
    body = _PARAMETER.sub(lambda found: places[found[1]], sql)
    return Prepared(name, f"PREPARE {name} AS {body}", f"{_SETTINGS}EXECUTE {name}({values})")
