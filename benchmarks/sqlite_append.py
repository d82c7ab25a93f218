"""Appending to the SQLite event log, against the same rows by the raw driver with the same indexes and durability.

Run as `python benchmarks/sqlite_append.py [--seconds 0.5] [--repeats 5]`. Prints events per second and the ratio to the
raw driver, which stores rows made beforehand: no seq is given out, nothing is checked, counted or folded.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rates import Comparison, Measure, compare, rate

from daglens.storage.records import EventDraft, NewRun
from daglens.storage.sqlite import SqliteConfig, SqliteEventLogStorage, SqliteRunStorage
from daglens.storage.sqlite.config import Durability

INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
DURABILITIES: tuple[Durability, ...] = ("full", "normal")


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


@contextlib.contextmanager
def raw(durability: Durability, per_commit: int) -> Iterator[Measure]:
    """The driver alone, on the tables that daglens makes."""
    with tempfile.TemporaryDirectory() as folder:
        events = SqliteEventLogStorage.from_config(SqliteConfig(base_dir=folder), Path(folder))
        events.append("run", [])
        events.close()
        connection = sqlite3.connect(events.database.path, isolation_level=None)
        connection.execute(f"PRAGMA synchronous = {durability.upper()}")
        numbers = itertools.count(1)

        def rows() -> list[tuple[Any, ...]]:
            return [
                (1, next(numbers), d.event_id, d.event_type, d.step_key, 20, 1_700_000_000_000_000, d.message,
                 '{"rows":1,"label":"orders"}')
                for d in drafts(per_commit)
            ]  # fmt: skip

        def store(batch: list[tuple[Any, ...]]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            if per_commit == 1:
                connection.execute(INSERT, batch[0])
            else:
                connection.executemany(INSERT, batch)
            connection.execute("COMMIT")

        yield lambda seconds: rate(rows, store, per_commit, seconds)
        connection.close()


@contextlib.contextmanager
def ours(durability: Durability, per_commit: int) -> Iterator[Measure]:
    """The storage: seq, duplicates, counts, steps and the run row included."""
    with tempfile.TemporaryDirectory() as folder:
        config = SqliteConfig(base_dir=folder, durability=durability)
        runs = SqliteRunStorage.from_config(config, Path(folder))
        events = SqliteEventLogStorage.from_config(config, Path(folder))
        runs.add(NewRun("run", "benchmark"))
        firsts = itertools.count(0, per_commit)
        yield lambda seconds: rate(
            lambda: drafts(per_commit, next(firsts)), lambda batch: events.append("run", batch), per_commit, seconds
        )
        events.close()
        runs.close()


def sqlite_append(durability: Durability, per_commit: int, *, repeats: int = 5, seconds: float = 0.5) -> Comparison:
    """The ways `raw` and `daglens`, in events per second."""
    with raw(durability, per_commit) as floor, ours(durability, per_commit) as reached:
        return compare({"raw": floor, "daglens": reached}, repeats=repeats, seconds=seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(f"SQLite {sqlite3.sqlite_version}; events/s by one writer: median (lowest … highest)")
    for durability in DURABILITIES:
        for per_commit in (1, 100, 1000):
            seen = sqlite_append(durability, per_commit, repeats=given.repeats, seconds=given.seconds)
            print(
                f"synchronous={durability:<6} {per_commit:>5} per commit: raw {seen.rate('raw').text()}  "
                f"daglens {seen.rate('daglens').text()}  ratio {seen.ratio('daglens', 'raw').text('{:.2f}')}"
            )


if __name__ == "__main__":
    main()
