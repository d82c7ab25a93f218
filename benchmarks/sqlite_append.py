"""Appending to the SQLite event log, against the same rows by the raw driver with the same indexes and durability.

Run as `python benchmarks/sqlite_append.py [--seconds 1]`. Prints events per second and the ratio to the raw driver,
which stores rows made beforehand: no seq is given out, nothing is checked, counted or folded.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from daglens.storage.records import EventDraft, NewRun
from daglens.storage.sqlite import SqliteConfig, SqliteEventLogStorage, SqliteRunStorage
from daglens.storage.sqlite.config import Durability

INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def drafts(count: int, first: int = 0) -> list[EventDraft]:
    """Log messages with ids, and a step event among every ten."""
    return [
        EventDraft(
            "STEP_OUTPUT" if n % 10 == 0 else "LOG_MESSAGE",
            step_key="extract",
            message=f"row {n} of the table was read",
            event_id=uuid.uuid4().hex,
            data={"rows": n, "label": "orders"},
        )
        for n in range(first, first + count)
    ]


def rate(store: Callable[[int], None], per_commit: int, seconds: float) -> float:
    """Events per second; `store(n)` stores the n-th batch."""
    begun = time.perf_counter()
    batches = 0
    while (spent := time.perf_counter() - begun) < seconds:
        store(batches)
        batches += 1
    return batches * per_commit / spent


def raw(folder: Path, durability: Durability, per_commit: int, seconds: float) -> float:
    """The driver alone, on the tables that daglens makes."""
    events = SqliteEventLogStorage.from_config(SqliteConfig(base_dir=str(folder)), folder)
    events.append("run", [])
    path = events.database.path
    events.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA synchronous = {durability.upper()}")
    made = drafts(per_commit)
    ids = iter(lambda: uuid.uuid4().hex, None)

    batches = [
        [
            (1, 1 + batch * per_commit + n, next(ids), d.event_type, d.step_key, 20, 1_700_000_000_000_000, d.message,
             '{"rows":1,"label":"orders"}')
            for n, d in enumerate(made)
        ]
        for batch in range(max(1, int(seconds * (60_000 if per_commit == 1 else 400_000)) // per_commit))
    ]  # fmt: skip

    def store(batch: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if per_commit == 1:
            connection.execute(INSERT, batches[batch][0])
        else:
            connection.executemany(INSERT, batches[batch])
        connection.execute("COMMIT")

    try:
        return rate(store, per_commit, seconds)
    finally:
        connection.close()


def ours(folder: Path, durability: Durability, per_commit: int, seconds: float) -> float:
    """The storage: seq, duplicates, counts, steps and the run row included."""
    config = SqliteConfig(base_dir=str(folder), durability=durability)
    runs = SqliteRunStorage.from_config(config, folder)
    events = SqliteEventLogStorage.from_config(config, folder)
    runs.add(NewRun("run", "benchmark"))
    total = int(seconds * (40_000 if per_commit == 1 else 200_000))
    batches = [drafts(per_commit, first) for first in range(0, total, per_commit)]
    try:
        return rate(lambda batch: void(events.append("run", batches[batch])), per_commit, seconds)
    finally:
        events.close()
        runs.close()


def void(_: object) -> None:
    """Take a value and give none."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    seconds = parser.parse_args().seconds
    print(f"SQLite {sqlite3.sqlite_version}; events/s by one writer")
    for durability in ("full", "normal"):
        for per_commit in (1, 100, 1000):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                floor = raw(Path(one), durability, per_commit, seconds)
                reached = ours(Path(other), durability, per_commit, seconds)
            print(
                f"synchronous={durability:<6} {per_commit:>5} per commit: raw {floor:>9,.0f}  "
                f"daglens {reached:>9,.0f}  ratio {reached / floor:.2f}"
            )


if __name__ == "__main__":
    main()
