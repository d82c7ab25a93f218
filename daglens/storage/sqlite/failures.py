"""From the driver's errors to one sentence that says what to do."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from daglens.storage.errors import StorageUnavailable

_PRIMARY_CODE = 0xFF

_SENTENCES = {
    sqlite3.SQLITE_BUSY: "It is locked: another process has been writing to it for longer than busy_timeout_s allows. "
    "Nothing was stored; try again, or look for a process that hangs.",
    sqlite3.SQLITE_INTERRUPT: "A statement took longer than statement_timeout_s and was ended. Ask for less, "
    "or raise it.",
    sqlite3.SQLITE_FULL: "Its disk is full. Nothing was stored; free some space.",
    sqlite3.SQLITE_CORRUPT: "It is damaged. Stop whatever uses it, and restore it from a backup; or move it away with "
    "its -wal file. Save what can still be read: `sqlite3 {name} .recover | sqlite3 saved.db`.",
    sqlite3.SQLITE_NOTADB: "This file is no SQLite database. Move it away, or choose another base_dir.",
    sqlite3.SQLITE_READONLY: "It can't be written. Give this user the right to write the file and its folder.",
    sqlite3.SQLITE_PERM: "It may not be opened. Give this user the right to read and write the file and its folder.",
    sqlite3.SQLITE_AUTH: "It may not be opened. Give this user the right to read and write the file and its folder.",
    sqlite3.SQLITE_CANTOPEN: "It can't be opened. See that its folder exists and that this user may write there.",
    sqlite3.SQLITE_IOERR: "Its disk reports an error. See that the disk is there and healthy, and not full.",
    sqlite3.SQLITE_PROTOCOL: "Its locks don't work. The folder has to be on a disk of this machine.",
}

_OS_SENTENCES = {
    errno.ENOSPC: "Free some space.",
    errno.EACCES: "Give this user the right to write the file and its folder.",
    errno.EMFILE: "Allow this process more open files (`ulimit -n`).",
}

# After these the connection may hold a wrong picture of the file.
_DISCARD = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_INTERNAL,
    }
)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 when the error is the driver's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY_CODE


def needs_new_connection(error: BaseException) -> bool:
    """True when the connection that raised this must not be used again."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in _DISCARD


def in_a_sentence(path: Path, error: BaseException) -> BaseException:
    """StorageUnavailable for what may happen to a file. A bug (a wrong statement or binding) stays what it is."""
    if isinstance(error, sqlite3.Error) and primary_code(error) in _SENTENCES:
        name = getattr(error, "sqlite_errorname", "SQLite")
        sentence = _SENTENCES[primary_code(error)].format(name=path.name)
        return StorageUnavailable(f"{path}: {sentence} ({name}: {error})")
    if isinstance(error, OSError):
        hint = _OS_SENTENCES.get(error.errno or 0, "See that its folder exists and that this user may write there.")
        return StorageUnavailable(f"{path}: {error.strerror or error}. {hint}")
    return error
