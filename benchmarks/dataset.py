"""What the data of the benchmarks looks like, for daglens and for the peer alike. Standard library only: both read it.

Runs of three steps each, one in ten failed, with four tags. A run has EVENTS_PER_RUN events, nine in ten of them log
messages; one, in the middle, is longer, so that a page of 1000 events can be read, and has a log of LOG_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterator

EVENTS_PER_RUN = 100
LONG_EVENTS = 1_100
LOG_BYTES = 1 << 20
STEPS = ("extract", "transform", "load")
LOG_STEP = "extract"
PIPELINES = ("nightly", "hourly", "backfill", "report")
TEAMS = ("core", "data", "growth", "ops", "risk")
FAILED_EVERY = 10
FIRST_US = 1_700_000_000_000_000
EVERY_US = 60_000_000


def run_id(number: int) -> str:
    """A UUID: the peer's front end knows no others."""
    return f"00000000-0000-4000-8000-{number:012d}"


def long_run(runs: int) -> int:
    """Number of the longer run among so many."""
    return runs // 2 + 1


def events_of(number: int, runs: int) -> int:
    """How many events a run has."""
    return LONG_EVENTS if number == long_run(runs) else EVENTS_PER_RUN


def pipeline(number: int) -> str:
    """The pipeline a run is of."""
    return PIPELINES[number % len(PIPELINES)]


def failed(number: int) -> bool:
    """Whether a run ends in failure."""
    return number % FAILED_EVERY == 3


def tags(number: int) -> dict[str, str]:
    """The tags of a run."""
    return {"team": TEAMS[number % 7 % 5], "env": "prod", "day": str(number // 24), "owner": f"user{number % 40}"}


def created_us(number: int) -> int:
    """When a run was created, µs since 1970."""
    return FIRST_US + number * EVERY_US


def message(row: int) -> str:
    """Text of a log message."""
    return f"row {row} of the table was read"


def shared_between(total: int, parts: int) -> Iterator[int]:
    """A total cut into parts as equal as can be."""
    for part in range(parts):
        yield total * (part + 1) // parts - total * part // parts


def log_text() -> bytes:
    """The longer run's log: lines of 64 bytes."""
    lines = (f"{n:>8} rows were read, and none of them was left out for any why\n".encode() for n in range(1 << 14))
    return b"".join(line[:63].rstrip(b"\n") + b"\n" for line in lines)[:LOG_BYTES]
