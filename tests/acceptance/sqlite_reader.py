"""A process that tails one run: FILE EVENTS. It follows the log as a server does: a watch, and a poll beside it.

It prints "ready", and at the end a digest of what it was given, in order; it fails when a seq is skipped or repeated.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path

from daglens.storage.records import EventQuery
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage


def main(file: str, count: str) -> None:
    events = SqliteEventLogStorage(SqliteDatabase(Path(file)))
    news = threading.Event()
    watch = events.watch(lambda run_id: news.set())
    print("ready", flush=True)
    digest, last = hashlib.sha256(), 0
    while last < int(count):
        news.clear()
        (page,) = events.read([EventQuery("r1", after_seq=last, limit=1000)])
        for event in page.events:
            assert event.seq == last + 1, f"after {last} came {event.seq}"
            last = event.seq
            digest.update(event.message.encode())
        if not page.has_more:
            news.wait(0.25)
    watch.stop()
    print(digest.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
