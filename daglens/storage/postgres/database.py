"""One schema of one Postgres database in one process: statements, transactions, and what is tried again.

A connection is in nobody's hands between two calls, and no call leaves a trace on it (no setting, no session lock, and
a prepared statement only where the server itself is at the other end): so a PgBouncer in transaction mode may stand in
between. Several statements go as one message where they can; sent without BEGIN, they are one transaction of the
server's.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import perf_counter
from typing import Any, TypeVar

import psycopg2

from daglens.storage.connections import Connections, Statements
from daglens.storage.errors import StorageSchemaMismatch
from daglens.storage.postgres import readiness
from daglens.storage.postgres.clock import NOW_US, ServerClock
from daglens.storage.postgres.config import PostgresConfig
from daglens.storage.postgres.failures import NO_SUCH_THING, ROLLED_BACK, code_of, is_foreseen, unavailable
from daglens.storage.postgres.health import HealthCheck
from daglens.storage.postgres.listening import Listener
from daglens.storage.postgres.notifying import Notifier
from daglens.storage.postgres.pool import Connection, ConnectionPool, connect, give_back
from daglens.storage.postgres.prepared import NOT_KEPT, OUTDATED, prepared
from daglens.storage.records import Health
from daglens.storage.watches import Watches

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Parameters = Mapping[str, Any]

IDLE_LIMIT_MS = 30_000
"""How long a transaction may stand still between two messages before the server ends it and its locks."""

_TRIES_AFTER_ROLLBACK = 5
_HEALTH_TIMEOUT_MS = 3000


class PostgresDatabase:
    """The tables of one schema, shared by the storages of this process that stand on them: see `shared`.

    It is opened (set up, when it is empty) by the first call that needs it, so that making a storage never fails.
    """

    def __init__(self, config: PostgresConfig) -> None:
        self.schema = config.schema_name
        self.pool = ConnectionPool.shared(config)
        self.on_message: Callable[[str, Parameters], None] | None = None
        """For tests: called with the statements and parameters of every message that is sent."""
        self.messages_sent = 0
        """Round trips up to now; several statements may go in one."""
        self.sending_s = 0.0
        """How long they took."""
        self._autocreate = config.should_autocreate_tables
        self._durability = config.durability
        self._timeout_s = config.statement_timeout_s
        self._users = 0
        self._closed = False
        self._renew()
        _living.add(self)

    def _renew(self) -> None:
        self._ready = False
        self._keeps_statements = True
        self._isolation = self._commit = ""
        self._ready_lock = threading.Lock()
        self._health = HealthCheck(self.pool.address, self._check_health)
        self.clock = ServerClock(self._ask_time)
        self.watches = Watches()
        self.notifier = Notifier(self.schema, self._notify)
        self.listener = Listener(self.schema, lambda: connect(self.pool.address), self.notifier.echo, self.watches)

    # ------------------------------------------------------------ sharing

    @classmethod
    def shared(cls, config: PostgresConfig) -> PostgresDatabase:
        """The tables that a configuration names: one object per address, schema and process.

        Each `shared` has its `release`. Of two configurations the more careful durability and the longer timeout count.
        """
        key = (config.address(), config.schema_name)
        with _registry_lock:
            database = _registry.get(key)
            if database is None:
                database = _registry[key] = cls(config)
            else:
                database.pool.widen(config)
            if config.durability == "full":
                database._durability = "full"
            database._autocreate = database._autocreate and config.should_autocreate_tables
            limits = (database._timeout_s, config.statement_timeout_s)
            database._timeout_s = max(limits) if all(limits) else 0
            database._users += 1
            return database

    def release(self) -> None:
        """Undo one `shared`; the last one closes."""
        with _registry_lock:
            self._users -= 1
            if self._users > 0:
                return
            for key in [key for key, database in _registry.items() if database is self]:
                del _registry[key]
        self.close()

    def close(self) -> None:
        """End the watches and give the connections back, whoever else uses them. May be called twice."""
        if not self._closed:
            self._closed = True
            self.listener.close()
            self.notifier.close()
            self.pool.release()

    # ------------------------------------------------------------ statements

    def sql(self, template: str) -> str:
        """The statement for this schema: `{s}.` in front of a table becomes its name."""
        return _in_schema(template, self.schema)

    def read(self, template: str, parameters: Parameters) -> Rows:
        """Rows of one statement, or of the last of several in one transaction. Tried again on a new connection.

        Raises:
            StorageUnavailable: The server does not answer.
        """
        return self.write(template, parameters, repeatable=True)

    def write(self, template: str, parameters: Parameters, *, repeatable: bool) -> Rows:
        """Likewise, with the commit in the same message. `repeatable`: sending it twice does no harm.

        Raises:
            StorageUnavailable: The server does not answer. Without `repeatable` nobody may know whether it is stored.
            psycopg2.Error: What the statement itself got wrong, as a unique index violated. Nothing is stored.
        """
        sql = self.sql(template)

        def send(attempt: _Attempt) -> Rows:
            attempt.in_doubt = True
            return self._send(attempt.connection, self.settings() + sql, parameters)

        return self._try(send, repeatable)

    def write_often(self, template: str, parameters: Parameters, *, repeatable: bool) -> Rows:
        """Likewise, by a statement that the session keeps where it can: for one whose planning is most of its work.

        The first time on a connection it is made, by a message of its own. Each parameter of the template bears its
        type where it stands: `%(count)s::bigint`.

        Raises:
            StorageUnavailable, psycopg2.Error: See `write`.
        """
        sql = self.sql(template)

        def send(attempt: _Attempt) -> Rows:
            connection, text = attempt.connection, sql
            if self._keeps_statements and connection.kept is not None and not attempt.unkept:
                statement = prepared(sql)
                attempt.was_kept = statement.name in connection.kept
                if not attempt.was_kept:
                    self._send(connection, f"{self.settings()}{statement.prepare}", {})
                    connection.kept.add(statement.name)
                text = statement.execute
            attempt.in_doubt = True
            return self._send(connection, self.settings() + text, parameters)

        return self._try(send, repeatable)

    def transact(self, work: Callable[[Transaction], T], *, repeatable: bool) -> T:
        """What `work` makes of a transaction, which is committed when it returns and undone when it raises.

        `work` is called again after a deadlock, or a connection that was lost before the commit.

        Raises:
            StorageUnavailable, psycopg2.Error: See `write`.
        """

        def run(attempt: _Attempt) -> T:
            transaction = Transaction(self, attempt)
            done = work(transaction)
            transaction.commit()
            return done

        return self._try(run, repeatable)

    def _try(self, work: Callable[[_Attempt], T], repeatable: bool) -> T:
        self.get_ready()
        lost = rolled_back = changed = unkept = 0
        while True:
            taken = self.pool.take()
            attempt = _Attempt(taken.dbapi_connection, unkept=unkept > 0)
            broken = True
            try:
                done = work(attempt)
                broken = False
                return done
            except psycopg2.Error as caught:
                error: Exception = caught
                broken = code_of(error) == "25006" or attempt.connection.closed != 0
                if attempt.connection.closed and lost == 0 and (repeatable or not attempt.in_doubt):
                    lost += 1
                elif code_of(error) in ROLLED_BACK and rolled_back < _TRIES_AFTER_ROLLBACK:
                    rolled_back += 1
                elif code_of(error) in NO_SUCH_THING and changed == 0:
                    changed += 1
                    self._ready = False
                elif code_of(error) in NOT_KEPT and unkept == 0:
                    unkept += 1
                    if attempt.was_kept and code_of(error) == OUTDATED:
                        # Somebody changed a table, and every session that knew it has a plan of no more use.
                        broken = True
                    else:
                        self._keeps_statements = False
                else:
                    raise self._told(error, attempt, repeatable) from error
            except Exception:
                broken = False
                raise
            finally:
                give_back(taken, broken=broken)
            self.get_ready()

    def _told(self, error: Exception, attempt: _Attempt, repeatable: bool) -> Exception:
        if not is_foreseen(error):
            return error
        hint = ""
        if attempt.connection.closed and attempt.in_doubt and not repeatable:
            hint = "The connection was lost in the middle. Look whether it was stored before you send it again."
        return unavailable(self.pool.address, error, hint)

    def _send(self, connection: Connection, sql: str, parameters: Parameters) -> Rows:
        # Nothing in between lets another thread run.
        self.messages_sent += 1
        if self.on_message is not None:
            self.on_message(sql, parameters)
        began = perf_counter()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return [] if cursor.description is None else cursor.fetchall()
        finally:
            took_s = perf_counter() - began
            self.sending_s += took_s

    def settings(self) -> str:
        """What each transaction begins with.

        For this transaction only, so that it is also right when the next one goes to another server connection.
        """
        settings = f"{self._isolation}SET LOCAL statement_timeout = {int(self._timeout_s * 1000)};"
        if self._durability == "normal":
            return settings + "SET LOCAL synchronous_commit = off;"
        return settings + self._commit

    # ------------------------------------------------------------ opening, health, time

    def get_ready(self) -> None:
        """See that the schema is there and of today, set up when it is empty; asked once.

        Raises:
            StorageSchemaMismatch: It is of another version of daglens.
            StorageUnavailable: It can't be reached, is somebody else's, or may not be set up.
        """
        if self._ready:
            return
        with self._ready_lock:
            if not self._ready:
                state = self._state()
                if state.is_empty and self._autocreate:
                    readiness.set_up(self.pool.address, self.schema)
                    state = self._state()
                state.check()
                # What is stored rests on both; a database may have other defaults.
                if state.isolation != "read committed":
                    self._isolation = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
                if state.synchronous_commit == "off":
                    self._commit = "SET LOCAL synchronous_commit = on;"
                self._ready = True

    def state(self) -> readiness.SchemaState:
        """What stands in the database now.

        Raises:
            StorageUnavailable: It can't be reached.
        """
        return self._state()

    def _state(self, timeout_ms: int = 0) -> readiness.SchemaState:
        taken = self.pool.take()
        broken = True
        try:
            state = readiness.read_state(taken.dbapi_connection, self.pool.address, self.schema, timeout_ms)
            broken = False
            return state
        except psycopg2.Error as error:
            raise unavailable(self.pool.address, error) from error
        finally:
            give_back(taken, broken=broken)

    def connections(self) -> Connections:
        """The pool as it is now."""
        pool = self.pool
        return Connections(f"{pool.address}/{self.schema}", pool.size, pool.in_use, pool.idle)

    def statements(self) -> Statements:
        """What was sent up to now."""
        return Statements(f"{self.pool.address}/{self.schema}", self.messages_sent, self.sending_s)

    def health(self) -> Health:
        """Whether the server answers and the schema is the right one; within a few seconds."""
        return self._health()

    def _check_health(self) -> Health:
        try:
            if not self._ready:
                self.get_ready()
            self._state(_HEALTH_TIMEOUT_MS).check()
        except StorageSchemaMismatch as error:
            self._ready = False
            return Health(False, str(error))
        except Exception as error:
            return Health(False, str(error))
        return Health(True)

    def _ask_time(self) -> int:
        now: int = self.read(f"SELECT {NOW_US}", {})[0][0]
        return now

    # ------------------------------------------------------------ news

    def tell(self, *run_ids: str) -> None:
        """Runs have news: watchers here learn it at once, other processes soon."""
        self.watches.tell(*run_ids)
        self.notifier.tell(run_ids)

    def _notify(self, sql: str, parameters: Parameters) -> None:
        self.write(sql, parameters, repeatable=True)

    def start_in_child(self) -> None:
        """After a fork: threads, watches and connections are the parent's."""
        self._renew()


class Transaction:
    """A transaction at its server; see `PostgresDatabase.transact`."""

    def __init__(self, database: PostgresDatabase, attempt: _Attempt) -> None:
        self._database = database
        self._attempt = attempt
        self._open = False
        self._ended = False

    def run(self, template: str, parameters: Parameters) -> Rows:
        """Rows of a statement, or of the last of several; each sees what was committed before it began."""
        sql = self._database.sql(template)
        if not self._open:
            # The lock on a head is held from here to the commit: a process that is stopped in between must not hold
            # it for ever.
            settings = self._database.settings() + f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_LIMIT_MS};"
            sql = f"BEGIN;{settings}{sql}"
            self._open = True
        return self._database._send(self._attempt.connection, sql, parameters)

    def commit(self, template: str = "", parameters: Parameters | None = None) -> None:
        """Run last statements and commit, in one message. After it nothing more is done."""
        if self._open and not self._ended:
            sql = self._database.sql(template)
            self._attempt.in_doubt = True
            self._database._send(self._attempt.connection, f"{sql};COMMIT" if sql else "COMMIT", parameters or {})
        self._ended = True


class _Attempt:
    """One try on one connection.

    Attributes:
        in_doubt: True from the moment a commit was sent.
        unkept: No statement that a session keeps is to be used.
        was_kept: The statement was in the session before this try.
    """

    __slots__ = ("connection", "in_doubt", "unkept", "was_kept")

    def __init__(self, connection: Connection, *, unkept: bool = False) -> None:
        self.connection = connection
        self.unkept = unkept
        self.in_doubt = self.was_kept = False


@lru_cache(maxsize=4096)
def _in_schema(template: str, schema: str) -> str:
    return template.replace("{s}", f'"{schema}"')


_living: weakref.WeakSet[PostgresDatabase] = weakref.WeakSet()
_registry: dict[tuple[Any, str], PostgresDatabase] = {}
_registry_lock = threading.Lock()


def _in_child() -> None:
    # Another thread of the parent may have held the lock.
    global _registry_lock
    _registry_lock = threading.Lock()
    for database in list(_living):
        database.start_in_child()


os.register_at_fork(after_in_child=_in_child)
