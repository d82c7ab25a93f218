"""A process that appends to one run: FILE NAME EVENTS PER_APPEND. The test starts several of them.

It prints "ready", waits for a line, and then appends events NAME:0, NAME:1, … With the argument --tell it prints, after
each append, how many events are acknowledged. At the end it prints how many were accepted, and how many were
duplicates.
"""

from __future__ import annotations

import sys
from pathlib import Path

from daglens.storage.records import EventDraft
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage


def main(file: str, name: str, count: str, per_append: str, *options: str) -> None:
    events = SqliteEventLogStorage(SqliteDatabase(Path(file), busy_timeout_s=30))
    events.append("r1", [])
    print("ready", flush=True)
    sys.stdin.readline()
    accepted = duplicates = 0
    for first in range(0, int(count), int(per_append)):
        texts = [f"{name}:{number}" for number in range(first, first + int(per_append))]
        appended = events.append("r1", [EventDraft("LOG_MESSAGE", message=text, event_id=text) for text in texts])
        accepted += appended.accepted
        duplicates += appended.duplicates
        if "--tell" in options:
            print(first + int(per_append), flush=True)
    print(accepted, duplicates)


if __name__ == "__main__":
    main(*sys.argv[1:])
