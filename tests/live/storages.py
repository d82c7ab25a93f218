"""An event storage that a test can look into and stop at chosen places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventQuery, EventSlice, Head


class NoWatch:
    """A watch that never says anything."""

    def stop(self) -> None:
        """Nothing to end."""


class Observed:
    """An event storage in front of another.

    Attributes:
        reads: The queries asked, in order.
        polled: The run ids of each `heads` call.
        watches: How many watches are open.
        hints: False: watches stay silent, as they may.
        failing: Run ids whose reads raise StorageUnavailable; with any of them in it, so does `heads`.
        before_read, after_read, before_watch: Called at that place, in the storage's thread.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reads: list[EventQuery] = []
        self.polled: list[Sequence[str]] = []
        self.watches = 0
        self.hints = True
        self.failing: set[str] = set()
        self.before_read: Callable[[EventQuery], None] = lambda query: None
        self.after_read: Callable[[EventQuery], None] = lambda query: None
        self.before_watch: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        """See EventLogStorage."""
        for query in queries:
            if query.run_id in self.failing:
                raise StorageUnavailable("Told to fail.")
            self.before_read(query)
        found: Sequence[EventSlice] = self._inner.read(queries)
        self.reads.extend(queries)
        for query in queries:
            self.after_read(query)
        return found

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        """See EventLogStorage."""
        self.polled.append(list(run_ids))
        if self.failing & set(run_ids):
            raise StorageUnavailable("Told to fail.")
        found: Mapping[str, Head] = self._inner.heads(run_ids)
        return found

    def watch(self, on_news: Callable[[str | None], None]) -> Any:
        """See EventLogStorage."""
        self.before_watch()
        watch = self._inner.watch(on_news) if self.hints else NoWatch()
        self.watches += 1
        return _Counted(self, watch)


class _Counted:
    def __init__(self, storage: Observed, watch: Any) -> None:
        self._storage = storage
        self._watch = watch
        self._stopped = False

    def stop(self) -> None:
        """End the watch behind it."""
        self._watch.stop()
        if not self._stopped:
            self._stopped = True
            self._storage.watches -= 1
