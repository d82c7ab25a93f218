"""Hearing of commits: our own at once, other processes' by asking SQLite every 20 ms whether the file changed."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from daglens.storage.watches import CallbackWatch

POLL_S = 0.02
_RETRY_S = 1.0


class ChangeWatcher:
    """All watches of one database, and the one thread that serves them; it lives while there is a watch."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._watches: tuple[CallbackWatch, ...] = ()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._asking = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    def watch(self, on_news: Callable[[str | None], None]) -> CallbackWatch:
        """Begin a watch."""
        watch = CallbackWatch(on_news, self._forget)
        with self._lock:
            self._watches = (*self._watches, watch)
            if self._thread is None:
                ended = threading.Event()
                thread = threading.Thread(target=self._run, args=(ended,), name="daglens-sqlite-watch", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # No threads left. Watchers poll; the next watch tries again.
                    _log_failure(error)
                else:
                    self._thread, self._ended = thread, ended
        return watch

    def tell(self, run_ids: Iterable[str]) -> None:
        """Pass on what this process has committed itself."""
        watches = self._watches
        if watches:
            for run_id in run_ids:
                for watch in watches:
                    watch.tell(run_id)

    def close(self) -> None:
        """End every watch, and wait for the thread."""
        thread = self._thread
        for watch in self._watches:
            watch.stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def reconnect(self) -> None:
        """Look at the file anew: another one stands in its place."""
        with self._asking:
            self._disconnect()

    def pause(self, timeout_s: float) -> bool:
        """Before a fork: close the connection, and hold the thread until `resume`; False when it took too long."""
        if not self._asking.acquire(timeout=timeout_s):
            return False
        self._disconnect()
        return True

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._asking.release()

    def _forget(self, watch: CallbackWatch) -> None:
        with self._lock:
            self._watches = tuple(w for w in self._watches if w is not watch)
            if not self._watches:
                self._thread = None
                self._ended.set()

    def _run(self, ended: threading.Event) -> None:
        pause_s = POLL_S
        while not ended.wait(pause_s):
            with self._asking:
                try:
                    changed, pause_s = self._changed(), POLL_S
                except Exception as error:
                    # Watchers poll, with or without hints; the file may be back later.
                    _log_failure(error)
                    self._disconnect()
                    changed, pause_s = True, _RETRY_S
            if changed:
                for watch in self._watches:
                    watch.tell(None)
        with self._asking:
            if self._thread is None:
                self._disconnect()

    def _changed(self) -> bool:
        # data_version moves with commits of every other connection, of this process or another, and never with our
        # own reads. The first answer says nothing of what came before it: that counts as news.
        if self._connection is None:
            self._connection = self._connect()
            self._version = None
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        changed: bool = version != self._version
        self._version = version
        return changed

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _log_failure(error: Exception) -> None:
    # Here and not above: a recorder watches nothing, and would load it at each start.
    import logging

    logging.getLogger("daglens.storage.sqlite").debug("asking for changes of the database failed: %s", error)
