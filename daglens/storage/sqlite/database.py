"""One SQLite file in one process: a connection that writes, a few that read, and who else shares them.

Writing: one transaction at a time per process, begun with BEGIN IMMEDIATE. (In WAL a reader that turns writer gets
SQLITE_BUSY at once, whatever the timeout.) Reading: up to POOL_SIZE connections that can't write.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from daglens.storage.connections import Statements
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import Health
from daglens.storage.sqlite import forking, opening
from daglens.storage.sqlite.config import Durability
from daglens.storage.sqlite.counting import CountingConnection, Tally
from daglens.storage.sqlite.failures import in_a_sentence, needs_new_connection
from daglens.storage.sqlite.time_limit import TimeLimit
from daglens.storage.sqlite.watching import ChangeWatcher

T = TypeVar("T")

POOL_SIZE = 8
"""Reads that may run at once."""

_HEALTH_TIMEOUT_S = 3.0
_READER_PRAGMAS = ("query_only = ON", "cache_size = -8192")
# After a burst the write-ahead log shrinks to 64 MiB. It is written back each 4,000 pages (16 MiB), not each 1,000:
# single appends all write the page of their head, and writing back waits for the disk twice.
_WRITER_PRAGMAS = ("foreign_keys = ON", "journal_size_limit = 67108864", "wal_autocheckpoint = 4000")
_VACUUM_PAGES = 1000
_VACUUM_STEPS = 10


class SqliteDatabase:
    """A SQLite file, shared by the storages of this process that stand on it: see `shared`.

    It is opened (made, migrated) by the first call that needs it, so that making a storage never fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "full",
        busy_timeout_s: float = 30,
        statement_timeout_s: float = 30,
    ) -> None:
        self.path = path
        self.on_statement: Callable[[str], None] | None = None
        """For tests: called with the text of every statement that runs, BEGIN and COMMIT included."""
        self._durability = durability
        self._busy_timeout_s = busy_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._users = 0
        self._closed = False
        self._tally = Tally()
        self._renew()
        forking.protect(self)

    def _renew(self) -> None:
        """Forget every connection and lock: a fresh start, also of a forked child."""
        self._pid = os.getpid()
        self._opened = False
        self._identity: tuple[int, int] | None = None
        self._open_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers_free = threading.BoundedSemaphore(POOL_SIZE)
        self._idle: list[sqlite3.Connection] = []
        self._held: list[Callable[[], None]] = []
        self.watcher = ChangeWatcher(self._connect_uncounted)

    # ------------------------------------------------------------ sharing

    @classmethod
    def shared(
        cls,
        path: Path,
        *,
        durability: Durability = "full",
        busy_timeout_s: float = 30,
        statement_timeout_s: float = 30,
    ) -> SqliteDatabase:
        """The database at `path`: one object per file and process. Each `shared` has its `release`.

        Of two configurations the more careful one counts: `full`, and the longer timeouts.
        """
        key = os.path.realpath(path)
        with _registry_lock:
            database = _registry.get(key)
            if database is None:
                database = _registry[key] = cls(
                    path,
                    durability=durability,
                    busy_timeout_s=busy_timeout_s,
                    statement_timeout_s=statement_timeout_s,
                )
            elif durability == "full" and database._durability != "full":
                database._durability = "full"
                database._end_writer()
            database._busy_timeout_s = max(database._busy_timeout_s, busy_timeout_s)
            limits = (database._statement_timeout_s, statement_timeout_s)
            database._statement_timeout_s = max(limits) if all(limits) else 0
            database._users += 1
            return database

    def release(self) -> None:
        """Undo one `shared`; the last one closes the connections."""
        with _registry_lock:
            self._users -= 1
            if self._users > 0:
                return
            for key in [key for key, database in _registry.items() if database is self]:
                del _registry[key]
        self.close()

    def close(self) -> None:
        """Close every connection and end the watches, whoever else uses them."""
        self._closed = True
        self.watcher.close()
        if self._pid == os.getpid():
            self._end_writer()
            self._close_idle()

    # ------------------------------------------------------------ reading and writing

    def read(self, work: Callable[[sqlite3.Connection], T], *, snapshot: bool = False) -> T:
        """What `work` makes of a connection that reads. `snapshot`: all its statements see one moment.

        Raises:
            StorageUnavailable: The file can't be read.
        """
        self._check_surroundings()
        with self._readers_free:
            connection = self._take_reader()
            identity = self._identity
            began = time.perf_counter()
            try:
                connection.set_trace_callback(self.on_statement)
                with TimeLimit(connection, self._statement_timeout_s):
                    if snapshot:
                        connection.execute("BEGIN")
                    done = work(connection)
                    if snapshot:
                        connection.execute("COMMIT")
            except BaseException as error:
                if not _roll_back(connection) or needs_new_connection(error):
                    connection.close()
                    self._reopen_after(error)
                else:
                    self._idle.append(connection)
                raise in_a_sentence(self.path, error) from error
            finally:
                took_s = time.perf_counter() - began
                self._tally.seconds += took_s
            if self._closed or identity != self._identity:
                connection.close()
            else:
                self._idle.append(connection)
            return done

    def write(self, work: Callable[[sqlite3.Connection], T], *, transaction: bool = True) -> T:
        """What `work` makes of a transaction that has the write lock from its first statement on.

        It is committed when `work` returns, and undone whole when it raises. Without `transaction` each statement is
        one of its own.

        Raises:
            StorageUnavailable: The file can't be written, or others wrote for longer than the timeout. Nothing is
                stored.
        """
        self._check_surroundings()
        if not self._write_lock.acquire(timeout=self._busy_timeout_s):
            raise StorageUnavailable(
                f"{self.path}: other threads of this process have been writing for {self._busy_timeout_s:g} s. "
                "Nothing was stored; try again."
            )
        try:
            connection = self._writer
            if connection is None:
                connection = self._writer = self._connect(reader=False)
            began = time.perf_counter()
            try:
                connection.set_trace_callback(self.on_statement)
                if transaction:
                    connection.execute("BEGIN IMMEDIATE")
                done = work(connection)
                if transaction:
                    connection.execute("COMMIT")
            except BaseException as error:
                if not _roll_back(connection) or needs_new_connection(error):
                    self._discard_writer()
                    self._reopen_after(error)
                raise in_a_sentence(self.path, error) from error
            finally:
                took_s = time.perf_counter() - began
                self._tally.seconds += took_s
            if self._closed:
                self._discard_writer()
            return done
        finally:
            self._write_lock.release()

    def statements(self) -> Statements:
        """What was read and written by this process up to now; the watch for changes isn't counted."""
        return Statements(str(self.path), self._tally.statements, self._tally.seconds)

    def health(self) -> Health:
        """Whether the file can be opened and read."""
        try:
            self._open(min(self._busy_timeout_s, _HEALTH_TIMEOUT_S))
            self.read(lambda connection: connection.execute("SELECT last_change FROM run_feed").fetchone())
        except (StorageUnavailable, sqlite3.Error) as error:
            return Health(False, str(error))
        return Health(True)

    def give_back_space(self) -> None:
        """Return free pages to the disk when there are many: some now, in short transactions, the rest another time."""
        with suppress(StorageUnavailable):
            for _ in range(_VACUUM_STEPS):
                if not self.write(_vacuum_some, transaction=False):
                    return

    # ------------------------------------------------------------ connections

    def _open(self, timeout_s: float) -> None:
        with self._open_lock:
            if not self._opened:
                try:
                    opening.prepare_file(self.path, timeout_s)
                except (sqlite3.Error, OSError) as error:
                    raise in_a_sentence(self.path, error) from error
                self._identity = _identity(self.path)
                self._opened = True

    def _take_reader(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect(reader=True)

    def _connect_uncounted(self) -> sqlite3.Connection:
        """For the watch, which asks 50 times a second: that would hide what is asked for clients."""
        connection = self._connect(reader=True)
        connection.tally = Tally()
        return connection

    def _connect(self, *, reader: bool) -> CountingConnection:
        self._open(self._busy_timeout_s)
        connection: CountingConnection | None = None
        try:
            connection = opening.connect(self.path, self._busy_timeout_s)
            for pragma in _READER_PRAGMAS if reader else _WRITER_PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            if not reader:
                connection.execute(f"PRAGMA synchronous = {self._durability.upper()}")
        except BaseException as error:
            if connection is not None:
                connection.close()
            raise in_a_sentence(self.path, error) from error
        # Only now: what sets it up nobody has asked for.
        connection.tally = self._tally
        return connection

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _end_writer(self) -> None:
        """Close the connection that writes, once nobody writes by it.

        Closed under another thread's COMMIT it ends the whole process (a segmentation fault in sqlite3, seen where an
        instance was closed under its server).
        """
        with self._write_lock:
            self._discard_writer()

    def _discard_writer(self) -> None:
        """Close the connection that writes. The caller holds the write lock."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(sqlite3.Error):
                writer.close()

    def _reopen_after(self, error: BaseException) -> None:
        """The file may have been moved away: look again whether it is there and ours."""
        if needs_new_connection(error):
            self._opened = False

    # ------------------------------------------------------------ forks

    def _check_surroundings(self) -> None:
        # Only where a fork went past Python (forking.py sees to the others).
        if self._pid != os.getpid():
            self.start_in_child()
        # SQLite would go on writing to a file that was moved away or removed, and acknowledge what nobody ever reads.
        if self._opened and _identity(self.path) != self._identity:
            self._file_has_gone()

    def _file_has_gone(self) -> None:
        with self._open_lock:
            if _identity(self.path) != self._identity:
                self._opened = False
        self._end_writer()
        self._close_idle()
        self.watcher.reconnect()

    def pause_for_fork(self) -> None:
        """Wait until nothing runs, and close every connection: SQLite's locks don't survive a fork."""
        deadline = time.monotonic() + forking.PATIENCE_S

        def held(take: Callable[..., bool], give_back: Callable[[], None]) -> bool:
            if not take(timeout=max(0.0, deadline - time.monotonic())):
                return False
            self._held.append(give_back)
            return True

        # In the order in which calls take them.
        if held(self._write_lock.acquire, self._write_lock.release):
            self._discard_writer()
        for _ in range(POOL_SIZE):
            held(self._readers_free.acquire, self._readers_free.release)
        self._close_idle()
        if self.watcher.pause(max(0.0, deadline - time.monotonic())):
            self._held.append(self.watcher.resume)
        held(self._open_lock.acquire, self._open_lock.release)

    def go_on_in_parent(self) -> None:
        """Undo `pause_for_fork`; connections are opened again when they are needed."""
        while self._held:
            self._held.pop()()

    def start_in_child(self) -> None:
        """Forget what belongs to the parent. Its watches aren't ours; its connections, if any are left, stay open."""
        forking.keep(self._writer, *self._idle)
        self._renew()


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None when there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _vacuum_some(connection: sqlite3.Connection) -> bool:
    if connection.execute("PRAGMA freelist_count").fetchone()[0] < _VACUUM_PAGES:
        return False
    # As a script: `execute` ends a statement without columns after its first step, which frees one page.
    connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
    return True


def _roll_back(connection: sqlite3.Connection) -> bool:
    """End the transaction, if one is open; False when the connection is of no more use."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not connection.in_transaction


_registry: dict[str, SqliteDatabase] = {}
_registry_lock = threading.Lock()


def _renew_registry_lock() -> None:
    # Another thread of the parent may have held it.
    global _registry_lock
    _registry_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_registry_lock)
