"""Telling other processes that runs have news: after the commit, coalesced, and never at the cost of an append.

In the transaction of an append NOTIFY takes a lock of the whole server until the commit is on disk, and halves what
eight writers store. Here it is a transaction of its own, one for all appends of 20 ms, that waits for no disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres.channels import news_channel
from daglens.storage.postgres.texts import text_array

log = logging.getLogger("daglens.storage.postgres")

PAUSE_S = 0.02
_RETRY_S = 1.0
_FLUSH_S = 2.0
_MOST_RUNS = 500

# Nobody waits for it, so neither does it wait for the disk.
_NOTIFY = """SET LOCAL synchronous_commit = off;
SELECT pg_notify(%(channel)s, run_id) FROM unnest(%(runs)s::text[]) AS run_id"""


class Notifier:
    """Sends hints by a thread of its own, which begins with the first append and ends when it has nothing to do."""

    def __init__(self, schema: str, send: Callable[[str, Mapping[str, Any]], None]) -> None:
        """`send` runs a statement on any connection of the pool."""
        self._channel = news_channel(schema)
        self._send = send
        self._lock = threading.Lock()
        self._work = threading.Semaphore(0)
        self._waiting: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def tell(self, run_ids: Iterable[str]) -> None:
        """Runs have news. Returns at once."""
        with self._lock:
            if self._closed.is_set():
                return
            first = not self._waiting
            self._waiting |= dict.fromkeys(run_ids)
            alone = [] if self._has_thread() else list(self._waiting)
            if alone:
                self._waiting.clear()
        if alone:
            self._sent(alone)
        elif first:
            # Not for each append: the thread would wake only to sleep on.
            self._work.release()

    def _has_thread(self) -> bool:
        """Whether a thread sends what waits; the caller holds the lock."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="daglens-postgres-notify", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No more threads for this process, or the interpreter ends. The events are stored: no error of theirs.
                return False
            self._thread = thread
        return True

    def echo(self, channel: str) -> None:
        """Notify a channel by the same way as everything else; an error is the caller's.

        Raises:
            StorageUnavailable: The server does not answer.
        """
        self._send(_NOTIFY, {"channel": channel, "runs": text_array(["echo"])})

    def close(self) -> None:
        """Send what waits, for two seconds at most, and end the thread."""
        self._closed.set()
        self._work.release()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FLUSH_S)

    def _run(self) -> None:
        while True:
            self._work.acquire()
            with self._lock:
                runs = list(self._waiting)
                self._waiting.clear()
            if runs:
                self._closed.wait(PAUSE_S if self._sent(runs) else _RETRY_S)
            elif self._closed.is_set():
                return

    def _sent(self, runs: list[str]) -> bool:
        # Beyond that many a watcher looks at all its runs sooner than it hears of each.
        names = runs if len(runs) <= _MOST_RUNS else [""]
        try:
            self._send(_NOTIFY, {"channel": self._channel, "runs": text_array(names)})
            return True
        except StorageUnavailable as error:
            log.debug("other processes were not told of news: %s", error)
        except Exception:
            # A hint only: who watches polls as well.
            log.warning("other processes were not told of news", exc_info=True)
        return False
