"""From the driver's errors to one sentence that says what to do, without a URL and without a password."""

from __future__ import annotations

import re

import psycopg2
from psycopg2 import errorcodes

from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres.config import Address

_SENTENCES = {
    "28P01": "It refuses the user or the password. Check both.",
    "28000": "It refuses this user from this machine. Check the user, and the server's pg_hba.conf.",
    "3D000": "It has no such database. Make it, or name another.",
    "53300": "It has no connection free. Raise its max_connections, lower pool_size, or put a PgBouncer in front.",
    "57P03": "It is starting or shutting down. Try again.",
    "57P01": "It was shut down, or an administrator ended the connection. Try again.",
    "57P02": "It ended after a crash of one of its processes. Try again.",
    "57P05": "It ended an idle connection. Try again.",
    "57014": "A statement took longer than statement_timeout_s and was ended. Nothing was stored; try again.",
    "55P03": "A lock was not free in time. Nothing was stored; try again.",
    "40P01": "Others changed the same rows at the same time, again and again. Nothing was stored; try again.",
    "40001": "Others changed the same rows at the same time, again and again. Nothing was stored; try again.",
    "25006": "It is read-only: a standby, or set so. Nothing was stored; name the primary server to write.",
    "25P03": "A transaction stood still for too long and was ended. Nothing was stored; try again.",
    "53100": "Its disk is full. Nothing was stored; free some space.",
    "53200": "It is out of memory. Nothing was stored; try again.",
    "42501": "The user lacks a right that is needed. Grant what docs/postgres.md lists.",
}

# For a connection that was not made, libpq gives no code, only the server's words.
_WORDS = (
    (re.compile(r"password authentication failed|no password supplied"), "28P01"),
    (re.compile(r'pg_hba\.conf|FATAL:  role ".*" (does not exist|is not permitted)'), "28000"),
    (re.compile(r'FATAL:  (database ".*" does not exist|no such database)'), "3D000"),
    (re.compile(r"too many (clients|connections)|remaining connection slots"), "53300"),
    (re.compile(r"FATAL:  the database system is"), "57P03"),
)

ROLLED_BACK = frozenset({errorcodes.DEADLOCK_DETECTED, errorcodes.SERIALIZATION_FAILURE})
"""After these nothing was stored, and the same transaction may succeed when it is tried again."""

NO_SUCH_THING = frozenset({"42P01", "42703", "3F000", "42883"})
"""A table, column, schema or function is missing: somebody changed the schema."""

_OUTSIDE = frozenset({"08", "53", "57", "58"})
"""Classes of errors that are about the server and not about a statement."""


def code_of(error: BaseException) -> str:
    """The SQLSTATE, "" when the error has none."""
    code: str | None = getattr(error, "pgcode", None)
    if code is None and isinstance(error, psycopg2.OperationalError):
        text = str(error)
        code = next((found for words, found in _WORDS if words.search(text)), None)
    return code or ""


def is_foreseen(error: BaseException) -> bool:
    """True for what may happen to a server; a wrong statement is a bug and stays what it is."""
    if not isinstance(error, psycopg2.Error):
        return False
    code = code_of(error)
    if code in _SENTENCES or code[:2] in _OUTSIDE:
        return True
    return not code and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)


def unavailable(address: Address, error: BaseException, hint: str = "") -> StorageUnavailable:
    """The error to raise instead. `hint` stands in for the sentence about the cause."""
    sentence = hint or _SENTENCES.get(code_of(error)) or "It can't be reached, or the connection was lost."
    return StorageUnavailable(f"{address}: {sentence} {_said(address, error)}")


def _said(address: Address, error: BaseException) -> str:
    """The server's own words: the first line, which names no password."""
    lines = str(error).strip().splitlines()
    if not lines:
        return ""
    text = lines[0].strip()
    for secret in address.secrets:
        text = text.replace(secret, "***")
    return f"({text})"
