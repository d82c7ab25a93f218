"""The event ids of a bundle that is checked: whether every event has one, and none stands twice."""

from __future__ import annotations

import sqlite3

from daglens.storage.bundle.lines import BadLine
from daglens.storage.drafts import PreparedEvent
from daglens.storage.errors import StorageUnavailable

_CACHE_KIB = 8192


class EventIds:
    """Those seen up to now. Close it, or use it in a `with`.

    In a temporary database, which is on disk where they are many: memory doesn't grow with the run.

    Attributes:
        all_have_one: No event without an id has come.
    """

    def __init__(self) -> None:
        self.all_have_one = True
        self._seen = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._seen.execute(f"PRAGMA {pragma}")
        self._seen.execute("CREATE TABLE seen (event_id TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID")
        # One transaction, never ended: nothing of it is to stay.
        self._seen.execute("BEGIN")

    def take(self, run_id: str, seq: int, event: PreparedEvent) -> None:
        """The next event; see `OnEvent`.

        Raises:
            BadLine: An event before it has its id.
            StorageUnavailable: There is no room for temporary files.
        """
        if event.event_id is None:
            self.all_have_one = False
            return
        try:
            new = self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event.event_id, seq)).rowcount
        except sqlite3.Error as error:
            raise StorageUnavailable(f"The folder for temporary files can't be used: {error}.") from error
        if not new:
            (first,) = self._seen.execute("SELECT seq FROM seen WHERE event_id = ?", (event.event_id,)).fetchone()
            raise BadLine(f"Event {seq} has the id of event {first}; no instance keeps an event id of a run twice.")

    def close(self) -> None:
        """Forget them."""
        self._seen.close()

    def __enter__(self) -> EventIds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
