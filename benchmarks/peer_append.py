"""One event per commit, against Dagster's own event log storages on the same machine, in turns.

Run as `python benchmarks/peer_append.py --peer PYTHON`, or with PEER_PYTHON set: the Python of an environment of its
own that has dagster and dagster-postgres (they need an older graphql-core than daglens). Without it nothing is
measured. Prints events per second, and how many times as many daglens stores, with seq, ids, counts and step states,
which the peer doesn't keep.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import postgres_append
import sqlite_append
from rates import Comparison, Measure, compare

NEEDS = "import dagster, dagster_postgres"


def peer_python(given: str | None) -> str | None:
    """The Python of the peer's environment; None when none is named, or it has no dagster."""
    python = given or os.environ.get("PEER_PYTHON")
    if not python:
        return None
    try:
        tried = subprocess.run([python, "-c", NEEDS], capture_output=True, timeout=120, check=False)
    except OSError:
        return None
    return python if tried.returncode == 0 else None


@contextlib.contextmanager
def peer(python: str, kind: str, place: str) -> Iterator[Measure]:
    """A process of the peer's that stores when it is told to."""
    child = subprocess.Popen(
        [python, str(Path(__file__).with_name("peer_store.py")), kind, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"DAGSTER_DISABLE_TELEMETRY": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    ask, answers = child.stdin, child.stdout

    def measure(seconds: float) -> float:
        ask.write(f"{seconds}\n")
        ask.flush()
        return float(answers.readline())

    try:
        if answers.readline().strip() != "ready":
            raise RuntimeError(f"{python} could not open its {kind} storage at {place}.")
        yield measure
    finally:
        ask.close()
        child.wait(30)
        answers.close()


def on_sqlite(python: str, *, repeats: int = 5, seconds: float = 0.5) -> Comparison:
    """The ways `dagster` (synchronous=FULL, its only one), `daglens full` and `daglens normal`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        peer(python, "sqlite", folder) as theirs,
        sqlite_append.ours("full", 1) as full,
        sqlite_append.ours("normal", 1) as normal,
    ):
        ways = {"dagster": theirs, "daglens full": full, "daglens normal": normal}
        return compare(ways, repeats=repeats, seconds=seconds)


def on_postgres(python: str, url: str, *, repeats: int = 5, seconds: float = 0.5) -> Comparison:
    """The ways `dagster` (a connection per event), `dagster pooled`, `daglens`, and the bare driver as what is left.

    All at full durability.
    """
    driver = url.replace("postgresql://", "postgresql+psycopg2://", 1)
    bench = postgres_append.Bench(url, "full", 0)
    try:
        with peer(python, "postgres", driver) as theirs, peer(python, "pooled", driver) as pooled:
            ways: dict[str, Measure] = {
                "dagster": theirs,
                "dagster pooled": pooled,
                "daglens": lambda seconds: bench.ours(1, seconds, steps=True),
                "psycopg2": lambda seconds: bench.raw(1, seconds, by_copy=False),
            }
            return compare(ways, repeats=repeats, seconds=seconds)
    finally:
        bench.close()


def show(title: str, seen: Comparison) -> None:
    """Print each way of daglens against each of the peer's."""
    for name in seen.rates:
        print(f"{title:<9} {name:<15} {seen.rate(name).text()}/s")
    theirs = [name for name in seen.rates if name.startswith("dagster")]
    ours = [name for name in seen.rates if not name.startswith("dagster")]
    for way, other in itertools.product(ours, theirs):
        print(f"{title:<9} {way} / {other}: {seen.ratio(way, other).text('{:.1f}')} times")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", metavar="PYTHON", help="default: $PEER_PYTHON")
    parser.add_argument("--url", help="a PostgreSQL server; default: one from the wheel that the tests use")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    python = peer_python(given.peer)
    if python is None:
        print("The peer is not installed: name the Python of an environment that has dagster and dagster-postgres.")
        return 0
    print("One event per commit, one writer: median (lowest … highest)")
    show("SQLite", on_sqlite(python, repeats=given.repeats, seconds=given.seconds))
    with postgres_append.server(given.url) as url:
        show("Postgres", on_postgres(python, url, repeats=given.repeats, seconds=given.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
