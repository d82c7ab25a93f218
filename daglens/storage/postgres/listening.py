"""Hearing of other processes' appends: one LISTEN connection per process and schema, there while somebody watches.

A hint can fail to come for many reasons, and nothing says so: a PgBouncer in transaction mode takes LISTEN and delivers
nothing, a connection can be dead for minutes. So the listener notifies itself, by the way that appends take, when it
begins and every 30 s; only while it hears that, the mode is LISTEN. Otherwise it is POLL, and watchers rely on that.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable

import psycopg2

from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres.channels import echo_channel, news_channel
from daglens.storage.postgres.pool import Connection
from daglens.storage.watches import CallbackWatch, OnNews, Watches

log = logging.getLogger("daglens.storage.postgres")

ECHO_EVERY_S = 30.0
ECHO_PATIENCE_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_JOIN_S = 5.0


class Listener:
    """The watches of one schema in this process, and the thread that serves them."""

    def __init__(
        self, schema: str, connect: Callable[[], Connection], echo: Callable[[str], None], watches: Watches
    ) -> None:
        """`connect` makes a connection of its own, `echo` notifies a channel by a connection of the pool."""
        self._schema = schema
        self._connect = connect
        self._echo = echo
        self._watches = watches
        self._lock = threading.Lock()
        self._session: _Session | None = None

    @property
    def hears(self) -> bool:
        """True while what other processes say is sure to come."""
        session = self._session
        return session is not None and session.hears

    def watch(self, on_news: OnNews) -> CallbackWatch:
        """Begin a watch."""
        watch = self._watches.add(on_news, self._end_if_alone)
        with self._lock:
            if self._session is None:
                self._session = self._begun()
        return watch

    def _begun(self) -> _Session | None:
        try:
            session = _Session(self._schema, self._connect, self._echo, self._watches)
            session.start()
        except (OSError, RuntimeError) as error:
            # No descriptors or threads left. Watchers poll; the next watch tries again.
            log.warning("news of other processes can't be listened for: %s", error)
            return None
        return session

    def close(self) -> None:
        """End every watch, and wait for the thread."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.end()
        self._watches.stop()
        if session is not None and session is not threading.current_thread():
            session.join(_JOIN_S)

    def _end_if_alone(self) -> None:
        with self._lock:
            if self._watches:
                return
            session, self._session = self._session, None
        if session is not None:
            session.end()


class _Session(threading.Thread):
    """Listens until it is ended, on one connection after another."""

    def __init__(
        self, schema: str, connect: Callable[[], Connection], echo: Callable[[str], None], watches: Watches
    ) -> None:
        super().__init__(name="daglens-postgres-listen", daemon=True)
        self.hears = False
        self._connect = connect
        self._send_echo = echo
        self._watches = watches
        self._news = news_channel(schema)
        self._own = echo_channel(schema, secrets.token_hex(8))
        self._ended = False
        self._echo_missing = False
        # Sockets and not a pipe: one that is closed already is known to be, whatever took its number.
        self._wake, self._waker = socket.socketpair()

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: No thread can be started.
        """
        try:
            super().start()
        except RuntimeError:
            self._wake.close()
            self._waker.close()
            raise

    def end(self) -> None:
        """Ask it to end; it does so at once."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def _is_ended(self) -> bool:
        return self._ended

    def run(self) -> None:
        """Listen, and begin again when the connection is lost."""
        pause_s = _FIRST_PAUSE_S
        while not self._is_ended():
            begun = time.monotonic()
            try:
                self._listen()
            except (psycopg2.Error, StorageUnavailable, OSError) as error:
                log.debug("listening for news was interrupted: %s", error)
            self.hears = False
            if self._is_ended():
                break
            # What was said meanwhile nobody heard.
            self._watches.tell(None)
            if time.monotonic() - begun > ECHO_EVERY_S:
                pause_s = _FIRST_PAUSE_S
            _wait(pause_s, self._wake)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._wake.close()
        self._waker.close()

    def _listen(self) -> None:
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {self._news}; LISTEN {self._own}")
            self._watches.tell(None)
            self._echo_missing = False
            next_s = time.monotonic()
            while not self._is_ended():
                if time.monotonic() >= next_s:
                    if self._echo_missing:
                        # Through a pooler, or the connection is dead: the next one may hear.
                        raise StorageUnavailable("No notification comes back.")
                    self._send_echo(self._own)
                    self._echo_missing = True
                    next_s = time.monotonic() + ECHO_PATIENCE_S
                readable = _wait(next_s - time.monotonic(), connection, self._wake)
                if connection.fileno() in readable and self._take(connection):
                    next_s = time.monotonic() + ECHO_EVERY_S
        finally:
            connection.close()

    def _take(self, connection: Connection) -> bool:
        """Pass on what was said; True when the echo was among it."""
        connection.poll()
        said: dict[str | None, None] = {}
        echoed = False
        while connection.notifies:
            notice = connection.notifies.pop(0)
            if notice.channel == self._own:
                echoed = True
            else:
                said[notice.payload or None] = None
        if echoed:
            self._echo_missing = False
            self.hears = True
        self._watches.tell(*said)
        return echoed


def _wait(timeout_s: float, *sources: Connection | socket.socket) -> set[int]:
    """Descriptors of those that have something to read, or have ended; none after so many seconds."""
    # Not select(): a server with a thousand viewers has descriptors beyond 1,023, which it can't take.
    poll = select.poll()
    for source in sources:
        poll.register(source.fileno(), select.POLLIN)
    return {fd for fd, _ in poll.poll(max(0.0, timeout_s) * 1000)}
