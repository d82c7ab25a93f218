"""Recording through the recorder: what an event costs the pipeline's thread, and how many a second are stored.

Run as `python benchmarks/recorder.py [--events 20000] [--repeats 5]`. The pipeline logs as fast as it can, into SQLite
with each durability; the recorder's own thread stores what comes, a hundred events at a time. Events per second go from
the first event to the return of the flush behind the last.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rates import Spread

import daglens
from daglens.instance import Instance


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording took.

    Attributes:
        thread_us: Processor time of the pipeline's thread per event, µs.
        events_per_s: Until all of them are stored.
    """

    thread_us: Spread
    events_per_s: Spread


@contextlib.contextmanager
def instance(durability: str) -> Iterator[Instance]:
    """An instance in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        section = "{{module: daglens.storage.sqlite, class: {}, config: {{base_dir: {}, durability: {}}}}}"
        lines = [
            f"run_storage: {section.format('SqliteRunStorage', folder, durability)}",
            f"event_log_storage: {section.format('SqliteEventLogStorage', folder, durability)}",
        ]
        (Path(folder) / "dagster.yaml").write_text("\n".join(lines))
        with Instance.open(home=folder) as opened:
            yield opened


def record(durability: str, *, events: int = 20_000, repeats: int = 5) -> Recorded:
    """Log `events` messages, `repeats` times after a warm-up."""
    costs, rates = [], []
    with instance(durability) as opened:
        for _ in range(1 + repeats):
            with daglens.start_run("benchmark", instance=opened, capture=False) as run, run.step("extract") as step:
                begun, before = time.perf_counter(), time.thread_time()
                for n in range(events):
                    step.log.info("row %d of the table was read", n)
                costs.append((time.thread_time() - before) / events * 1e6)
                run.flush(60)
                rates.append(events / (time.perf_counter() - begun))
    return Recorded(Spread.of(costs[1:]), Spread.of(rates[1:]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    for durability in ("full", "normal"):
        seen = record(durability, events=given.events, repeats=given.repeats)
        print(
            f"SQLite {durability:<6} {seen.thread_us.text('{:.1f}')} µs of the pipeline's thread per event, "
            f"{seen.events_per_s.text()} events/s stored"
        )


if __name__ == "__main__":
    main()
