"""Opening a SQLite file: made when it is new, migrated when it is older, refused when it is newer.

All of it under a lock on a file beside the database. Without it, eight processes that open a new file at once get
"database is locked" from `PRAGMA journal_mode=WAL` in about one open of a hundred, whatever their timeout. A file that
is new or up to date needs no SQLAlchemy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from daglens.storage.errors import StorageSchemaMismatch, StorageUnavailable
from daglens.storage.sql.revisions import REVISIONS
from daglens.storage.sqlite.counting import CountingConnection, Tally
from daglens.storage.sqlite.file_systems import refuse_network

_LOCK_PAUSE_S = 0.005


def connect(path: Path, busy_timeout_s: float) -> CountingConnection:
    """A connection in autocommit mode, with a tally of its own; transactions are begun by who needs one."""
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=CountingConnection,
    )
    connection.tally = Tally()
    return connection


def prepare_file(path: Path, busy_timeout_s: float) -> None:
    """See that the database at `path` exists, is in WAL mode, and has today's tables.

    Raises:
        StorageUnavailable: Network file system, no right, another database, or another process holds the lock.
        StorageSchemaMismatch: It was made by a newer daglens.
        sqlite3.Error, OSError: What the file itself says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    refuse_network(path.parent)
    lock_path = path.with_name(path.name + ".lock")
    with _locked(lock_path, fcntl.LOCK_SH, busy_timeout_s):
        if path.exists() and _is_ready(path, busy_timeout_s):
            return
    with _locked(lock_path, fcntl.LOCK_EX, busy_timeout_s):
        _make_ready(path, busy_timeout_s)


def _is_ready(path: Path, busy_timeout_s: float) -> bool:
    with contextlib.closing(connect(path, busy_timeout_s)) as connection:
        wal = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        return wal and _revision(connection, path) == REVISIONS[-1]


def _make_ready(path: Path, busy_timeout_s: float) -> None:
    with contextlib.closing(connect(path, busy_timeout_s)) as connection:
        revision = _revision(connection, path)
        if revision is None:
            # Only an empty file takes it: what a deletion frees can then be given back to the disk.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _set_wal(connection, path, busy_timeout_s)
        if revision is None:
            from importlib.resources import files

            schema = files("daglens.storage.sqlite").joinpath("schema.sql").read_text("utf-8")
            connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nCOMMIT;")
        elif revision != REVISIONS[-1]:
            from daglens.storage.sqlite.migrating import upgrade

            upgrade(connection)


def _set_wal(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    # Who doesn't know of the lock file (an sqlite3 shell) can still be reading; the busy timeout doesn't cover this.
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_PAUSE_S)
            continue
        if mode != "wal":
            raise StorageUnavailable(
                f"{path}: SQLite can't use its write-ahead log here (journal mode {mode}). "
                "Set base_dir to a folder on a disk of this machine."
            )
        return


def _revision(connection: sqlite3.Connection, path: Path) -> str | None:
    """The stored revision, "" for a database at its base, None when there is no table at all.

    Raises:
        StorageSchemaMismatch: It is none of ours.
        StorageUnavailable: The tables are somebody else's.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "alembic_version" not in tables or (tables != {"alembic_version"} and "event_heads" not in tables):
        raise StorageUnavailable(
            f"{path} is a SQLite database of something else (it has a table {min(tables)!r}). "
            "Move it away, or choose another base_dir."
        )
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    revision: str = "" if row is None else row[0]
    if revision and revision not in REVISIONS:
        raise StorageSchemaMismatch(
            f"{path} is at revision {revision}; this version knows {REVISIONS[-1]} and older. "
            "Upgrade daglens, or choose another base_dir."
        )
    return revision


@contextlib.contextmanager
def _locked(lock_path: Path, how: int, timeout_s: float) -> Iterator[None]:
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageUnavailable(
                        f"{lock_path} has been locked for {timeout_s:g} s: another process makes or migrates the "
                        "database. Wait for it, or end it."
                    ) from None
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        # Closing gives the lock back; the file stays, or two processes could lock two files of one name.
        os.close(descriptor)
