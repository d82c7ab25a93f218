"""A SQLite file: its file system, write-ahead log and revision. It is only read, and not made when it isn't there."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from daglens.doctor.findings import Finding, ok, problem, warning
from daglens.storage.errors import StorageUnavailable
from daglens.storage.sql.revisions import REVISIONS
from daglens.storage.sqlite.file_systems import file_system_of, refuse_network

_MAGIC = b"SQLite format 3\0"
_WAL_VERSION = 2
_BIG_WAL_BYTES = 1024**3
_MEMORY_TYPES = frozenset({"ramfs", "tmpfs"})


def look_at_sqlite(path: Path) -> Iterator[Finding]:
    """What is to be said of the file of runs and events."""
    yield _file_system(path)
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except FileNotFoundError:
        yield ok("schema", f"{path} isn't there yet; the first run makes it.")
        return
    except OSError as error:
        yield problem(
            "wal",
            f"{path} can't be read: {error.strerror}.",
            "Give it, and the folders above it, to the user that daglens runs as.",
        )
        return
    if head and not head.startswith(_MAGIC):
        yield problem(
            "wal", f"{path} is no SQLite database.", "Restore it from a backup, or move it away: a new one is made."
        )
        return
    yield _wal(path, head)
    yield _schema(path)
    yield ok("clock", "SQLite goes by this machine's clock.")
    yield ok("live-hint", "SQLite's file is looked at every 20 ms by each process that has viewers.")


def _file_system(path: Path) -> Finding:
    try:
        refuse_network(path.parent)
    except StorageUnavailable as error:
        return problem("file-system", str(error), "Change base_dir of run_storage and event_log_storage.")
    if (kind := file_system_of(path.parent)) in _MEMORY_TYPES:
        return warning(
            "file-system",
            f"{path.parent} is in this machine's memory ({kind}): the history goes with its next start.",
            "Set base_dir of run_storage and event_log_storage to a folder on a disk, if it is to stay.",
        )
    return ok("file-system", f"{path.parent} is on a disk of this machine.")


def _wal(path: Path, head: bytes) -> Finding:
    if head and tuple(head[18:20]) != (_WAL_VERSION, _WAL_VERSION):
        return warning(
            "wal",
            f"{path} is not in WAL mode: another program has changed it.",
            "The next daglens that opens it turns WAL on again. Leave `PRAGMA journal_mode` as it is.",
        )
    with contextlib.suppress(OSError):
        size = path.with_name(f"{path.name}-wal").stat().st_size
        if size > _BIG_WAL_BYTES:
            return warning(
                "wal",
                f"The write-ahead log of {path} has {size} bytes: somebody reads one snapshot for long.",
                "End what holds the file open (`fuser -v` names it); a backup that reads for hours, for one.",
            )
    return ok("wal", f"{path} is in WAL mode.")


def _schema(path: Path) -> Finding:
    # Read-only, and as one that can't change where nobody has it open: SQLite would else make files beside it.
    in_use = os.path.exists(f"{path}-wal")
    address = f"file:{quote(str(path))}?mode=ro" + ("" if in_use else "&immutable=1")
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            row = None
            if "alembic_version" in tables:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        return problem(
            "schema", f"{path} can't be read: {error}.", "Restore it from a backup; `sqlite3 FILE .recover` may help."
        )
    if not tables:
        return ok("schema", f"{path} is empty; the first run sets it up.")
    if "event_heads" not in tables and row is None:
        return problem("schema", f"{path} belongs to another program.", "Choose another base_dir for runs and events.")
    revision = row[0] if row is not None else ""
    if revision == REVISIONS[-1]:
        return ok("schema", f"{path} is at revision {revision}, the newest.")
    if revision in ("", *REVISIONS):
        return warning(
            "schema",
            f"{path} is at revision {revision or '(none)'}; this version of daglens works on {REVISIONS[-1]}.",
            "It is brought up to date when it is opened next. Make a backup first.",
        )
    return problem(
        "schema",
        f"{path} is at revision {revision}, which a newer daglens made; this one knows {REVISIONS[-1]}.",
        "Upgrade daglens.",
    )
