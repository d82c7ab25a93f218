"""How many bytes a run and an event take on SQLite and Postgres, indexes included.

Run as `python benchmarks/sizes.py [--runs 1000] [--events 100] [--url postgresql://…]`. Without a URL a server is
started from the wheel that the tests use. Half of the events are log messages of about 60 characters, the others what
steps say: begins and ends, materializations with three entries of metadata, expectations. A run has three tags.
Everything is as it is right after it was written; what is deleted leaves room that is used again, not a smaller file.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from postgres_append import server

from daglens.config.secrets import Secret
from daglens.storage.contract import EventLogStorage, RunStorage
from daglens.storage.postgres import PostgresConfig, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.records import EventDraft, NewRun
from daglens.storage.sqlite import SqliteConfig, SqliteEventLogStorage, SqliteRunStorage

SCHEMA = "daglens_sizes"


@dataclass(frozen=True)
class Sizes:
    """What was measured.

    Attributes:
        run_bytes: Of a run with its tags and without events.
        event_bytes: Of an event, what its run and step grow by included.
        wal_bytes: Written to the write-ahead log for an event, as standbys and archives receive it; None: not measured.
    """

    run_bytes: float
    event_bytes: float
    wal_bytes: float | None


def events_of(count: int) -> Iterator[EventDraft]:
    """The events of one run."""
    for number in range(count):
        step = f"step_{number // 10}"
        kind, message, data = _kind(number)
        yield EventDraft(kind, step_key=step, message=message, event_id=uuid.uuid4().hex, data=data)


def _kind(number: int) -> tuple[str, str, dict[str, object]]:
    match number % 10:
        case 0:
            return "STEP_START", "", {}
        case 9:
            return "STEP_SUCCESS", "", {"durationMs": 1234.5}
        case 8:
            return "STEP_EXPECTATION_RESULT", "", {"label": "no nulls", "success": True}
        case 7:
            metadata = [{"label": "rows", "int": number}, {"label": "table", "text": "orders"}]
            metadata.append({"label": "source", "url": "https://example.org/orders/2026-11-22"})
            return "STEP_MATERIALIZATION", "", {"assetKey": ["warehouse", "orders"], "metadata": metadata}
        case 6:
            return "STEP_OUTPUT", "", {"outputName": "result"}
    return "LOG_MESSAGE", f"read 10,000 rows of part {number:05} of the table of orders", {}


def fill(
    runs: RunStorage, events: EventLogStorage, count: int, per_run: int, size: Callable[[], tuple[int, int]]
) -> Sizes:
    """Store runs, then their events in hundreds, and look at the sizes between."""
    empty, _ = size()
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for number, run_id in enumerate(ids):
        tags = (("team", f"team-{number % 7}"), ("date", f"2026-11-{number % 28 + 1:02}"), ("owner", "orders"))
        runs.add(NewRun(run_id, f"pipeline_{number % 20}", tags=tags))
    begun, wal_before = size()
    for run_id in ids:
        drafts = list(events_of(per_run))
        for first in range(0, per_run, 100):
            events.append(run_id, drafts[first : first + 100])
    full, wal_after = size()
    stored = count * per_run
    return Sizes((begun - empty) / count, (full - begun) / stored, (wal_after - wal_before) / stored or None)


def on_sqlite(count: int, per_run: int) -> Sizes:
    """Measured by the file's pages."""
    with tempfile.TemporaryDirectory() as folder:
        config = SqliteConfig(base_dir=folder, durability="normal")
        runs = SqliteRunStorage.from_config(config, Path(folder))
        events = SqliteEventLogStorage.from_config(config, Path(folder))
        path = Path(folder) / "daglens.db"
        assert runs.health().healthy and path.is_file()

        def size() -> tuple[int, int]:
            connection = sqlite3.connect(path)
            pages = connection.execute("PRAGMA page_count").fetchone()[0] * 4096
            connection.close()
            return pages, 0

        try:
            return fill(runs, events, count, per_run, size)
        finally:
            events.close()
            runs.close()


def on_postgres(count: int, per_run: int, url: str | None) -> Sizes:
    """Measured by the tables with their indexes, and by the write-ahead log's position."""
    with server(url) as address:
        raw = psycopg2.connect(address)
        raw.autocommit = True
        cursor = raw.cursor()
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        config = PostgresConfig(postgres_url=Secret(address), schema_name=SCHEMA)
        runs = PostgresRunStorage.from_config(config, Path())
        events = PostgresEventLogStorage.from_config(config, Path())
        runs.now_us()

        def size() -> tuple[int, int]:
            cursor.execute(
                "SELECT sum(pg_total_relation_size(oid)), (SELECT pg_current_wal_lsn() - '0/0'::pg_lsn) FROM pg_class "
                f"WHERE relkind = 'r' AND relnamespace = '{SCHEMA}'::regnamespace"
            )
            tables, wal = cursor.fetchone()
            return int(tables), int(wal)

        try:
            return fill(runs, events, count, per_run, size)
        finally:
            events.close()
            runs.close()
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
            raw.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--url")
    given = parser.parse_args()
    made = list(events_of(given.events))
    plain = sum(len(each.message) + len(json.dumps(each.data)) for each in made) / len(made)
    print(f"{given.runs:,} runs of {given.events:,} events; an event's message and data are {plain:.0f} bytes as text")
    for name, sizes in (
        ("SQLite", on_sqlite(given.runs, given.events)),
        ("Postgres", on_postgres(given.runs, given.events, given.url)),
    ):
        wal = "" if sizes.wal_bytes is None else f", write-ahead log {sizes.wal_bytes:.0f} bytes per event"
        print(f"{name}: {sizes.run_bytes:.0f} bytes per run, {sizes.event_bytes:.0f} bytes per event{wal}")


if __name__ == "__main__":
    main()
