"""Connections to one server, few and kept: one pool per address and process, whoever uses it."""

from __future__ import annotations

import os
import select
import threading
import weakref
from typing import Any, TypeAlias

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import exc
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres.config import Address, PostgresConfig
from daglens.storage.postgres.failures import unavailable
from daglens.storage.postgres.prepared import Session

Connection: TypeAlias = Any
"""A psycopg2 connection in autocommit mode; a Session."""


_HUNG_UP = getattr(select, "POLLRDHUP", 0)


def connect(address: Address) -> Connection:
    """A new connection, in autocommit mode: transactions are begun and ended by statements.

    Raises:
        StorageUnavailable: With the reason.
    """
    try:
        connection = psycopg2.connect(connection_factory=Session, **address.parameters())
    except (psycopg2.Error, UnicodeError) as error:
        hint = ""
        if isinstance(error, psycopg2.ProgrammingError):
            hint = "A connection parameter is not one that libpq knows. Look at params, or behind the ? of the URL."
        raise unavailable(address, error, hint) from None
    connection.autocommit = True
    return connection


class ConnectionPool:
    """The connections of this process to one address; see `shared`.

    At most `size` of them at a time; who wants one more waits. None is made before it is needed.
    """

    def __init__(self, config: PostgresConfig) -> None:
        self.address = config.address()
        self._size = config.pool_size
        self._overflow = config.max_overflow
        self._timeout_s = config.pool_timeout_s
        self._users = 0
        self._renew()
        _living.add(self)

    def _renew(self) -> None:
        """Forget every connection: a fresh start, also of a forked child."""
        self._lock = threading.Lock()
        self._made: QueuePool | None = None

    @classmethod
    def shared(cls, config: PostgresConfig) -> ConnectionPool:
        """The pool of an address: one object per address and process. Each `shared` has its `release`.

        Of two configurations the larger sizes and the longer timeout count, until the first connection is made.
        """
        address = config.address()
        with _registry_lock:
            pool = _registry.get(address)
            if pool is None:
                pool = _registry[address] = cls(config)
            pool.widen(config)
            pool._users += 1
            return pool

    def widen(self, config: PostgresConfig) -> None:
        """Be enough for this configuration, too; without effect once there is a connection."""
        self._size = max(self._size, config.pool_size)
        self._overflow = max(self._overflow, config.max_overflow)
        self._timeout_s = max(self._timeout_s, config.pool_timeout_s)

    def release(self) -> None:
        """Undo one `shared`; the last one closes the connections."""
        with _registry_lock:
            self._users -= 1
            if self._users > 0:
                return
            for address in [address for address, pool in _registry.items() if pool is self]:
                del _registry[address]
        self.close()

    def close(self) -> None:
        """Close the connections that are idle; those in use close when they are given back."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.dispose()

    @property
    def size(self) -> int:
        """How many connections there may be."""
        return self._size + self._overflow

    @property
    def in_use(self) -> int:
        """How many connections somebody has now."""
        made = self._made
        return made.checkedout() if made is not None else 0

    @property
    def idle(self) -> int:
        """How many connections wait for somebody."""
        made = self._made
        return made.checkedin() if made is not None else 0

    def take(self) -> PoolProxiedConnection:
        """A connection that works, as far as can be told without asking the server.

        Raises:
            StorageUnavailable: None came free in time, or the server takes none.
        """
        while True:
            try:
                taken = self._pool().connect()
            except exc.TimeoutError:
                raise StorageUnavailable(
                    f"{self.address}: all {self.size} connections of this process were in use for "
                    f"{self._timeout_s:g} s. Nothing was stored; try again, or raise pool_size."
                ) from None
            if not _was_closed(taken.dbapi_connection):
                return taken
            # The others that idle may be as dead; each is looked at when its turn comes.
            taken.invalidate()

    def _pool(self) -> QueuePool:
        with self._lock:
            if self._made is None:
                self._made = QueuePool(
                    self._connect,
                    pool_size=self._size,
                    max_overflow=self._overflow,
                    timeout=self._timeout_s,
                    # Whoever takes a connection ends its transaction.
                    reset_on_return=None,
                    use_lifo=True,
                )
            return self._made

    def _connect(self) -> Connection:
        for may_try_again in (True, False):
            connection = connect(self.address)
            try:
                connection.look_for_pooler()
                break
            except psycopg2.Error as error:
                # Lost before anything was asked of it: a new one may do, as for one that is lost later.
                may_try_again = may_try_again and connection.closed != 0
                connection.close()
                if not may_try_again:
                    raise unavailable(self.address, error) from None
        return connection

    def start_in_child(self) -> None:
        """After a fork: the connections are the parent's; psycopg2 doesn't close those of another process."""
        self._renew()


def give_back(taken: PoolProxiedConnection, *, broken: bool = False) -> None:
    """End what is left of a transaction and give a connection back; one that is broken isn't used again."""
    connection: Connection = taken.dbapi_connection
    try:
        if not broken and connection.info.transaction_status != TRANSACTION_STATUS_IDLE:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        broken = broken or connection.closed != 0
        # Through PgBouncer somebody else's notifications can come here; nobody would ever take them away.
        connection.notifies.clear()
    except psycopg2.Error:
        broken = True
    if broken:
        taken.invalidate()
    else:
        taken.close()


def _was_closed(connection: Connection) -> bool:
    """Whether the server has closed an idle connection: without a round trip, as the end of its stream is here."""
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN | _HUNG_UP)
        if poll.poll(0):
            # A notice or a changed parameter may have come; it is taken in, and then there must be nothing more.
            connection.poll()
            return bool(poll.poll(0))
    except (psycopg2.Error, OSError, ValueError):
        return True
    return bool(connection.closed)


_living: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()
_registry: dict[Address, ConnectionPool] = {}
_registry_lock = threading.Lock()


def _in_child() -> None:
    # Another thread of the parent may have held the lock.
    global _registry_lock
    _registry_lock = threading.Lock()
    for pool in list(_living):
        pool.start_in_child()


os.register_at_fork(after_in_child=_in_child)
