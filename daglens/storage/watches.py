"""Watches of an event log that are told by a callback: what storages with hints of their own have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable

OnNews = Callable[[str | None], None]


class CallbackWatch:
    """One `on_news`, called under its own lock, so that `stop` can promise that no call comes after it."""

    def __init__(self, on_news: OnNews, forget: Callable[[CallbackWatch], None]) -> None:
        self._on_news = on_news
        self._forget = forget
        # Reentrant: a callback may stop its own watch, or append.
        self._lock = threading.RLock()
        self._stopped = False

    def tell(self, run_id: str | None) -> None:
        """Call `on_news`; what it raises ends nothing."""
        with self._lock:
            if not self._stopped:
                try:
                    self._on_news(run_id)
                except Exception:
                    # Here and not above: a recorder watches nothing, and would load it at each start.
                    import logging

                    logging.getLogger("daglens.storage").exception("a watcher of the event log failed; it stays")

    def stop(self) -> None:
        """End it; no call comes after this. May be called twice."""
        with self._lock:
            self._stopped = True
        self._forget(self)


class Watches:
    """All watches of one log in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[CallbackWatch, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, on_news: OnNews, on_stop: Callable[[], None] = lambda: None) -> CallbackWatch:
        """Begin a watch; `on_stop` is called when it has ended."""

        def forget(watch: CallbackWatch) -> None:
            with self._lock:
                self._all = tuple(other for other in self._all if other is not watch)
            on_stop()

        watch = CallbackWatch(on_news, forget)
        with self._lock:
            self._all = (*self._all, watch)
        return watch

    def tell(self, *run_ids: str | None) -> None:
        """Tell every watch, for each run; None: any run may have news."""
        watches = self._all
        for run_id in run_ids:
            for watch in watches:
                watch.tell(run_id)

    def stop(self) -> None:
        """End them all."""
        for watch in self._all:
            watch.stop()
