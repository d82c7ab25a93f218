"""Every fault of daglens.testing.faults, tried again and again at random points, and what was lost.

Run as `python benchmarks/faults.py [--tries 20] [--seed 1] [-n PROCESSES]` in a checkout with the test
requirements. It runs tests/faults, prints the two tables that docs/reliability.md holds, and ends with 1 when a trial
failed. Needs no root; as root it fills real disks.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from daglens.testing.faults import FAULTS  # noqa: E402
from tests.faults.conftest import RESULT  # noqa: E402


class Results:
    """Counts the trials that pytest reports, also from its worker processes."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a trial has noted."""
        for name, value in report.user_properties:
            if name == RESULT and report.when == "teardown" and isinstance(value, dict):
                fault = str(value["fault"])
                self.tries[fault] += 1
                self.acknowledged[fault] += int(value["acknowledged"])
                self.lost[fault] += int(value["lost"])


def told(seen: str | None) -> str:
    """What a user is told, quoted."""
    return "–" if seen is None else f"“{seen}”"


def promises() -> str:
    """What is done and what holds all the same, as a table in Markdown."""
    rows = [f"| `{fault.name}` | {fault.broken} | {fault.promised} |" for fault in FAULTS]
    return "\n".join(["| fault | what is done | what holds |", "|---|---|---|", *rows])


def table(results: Results) -> str:
    """What the trials gave, as a table in Markdown."""
    rows = [
        f"| `{fault.name}` | {results.tries[fault.name]:,} | {results.acknowledged[fault.name]:,} "
        f"| {results.lost[fault.name]:,} | {told(fault.seen)} |"
        for fault in FAULTS
        if results.tries[fault.name]
    ]
    head = "| fault | tries | acknowledged before it (events; for logs bytes) | lost of them | what a user sees |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def main() -> int:
    """Run the trials and print."""
    parser = argparse.ArgumentParser(description="Try every fault, and print what was lost.")
    parser.add_argument("--tries", type=int, default=20, help="of each test")
    parser.add_argument("--seed", type=int, default=1, help="what the random points are drawn from")
    parser.add_argument("-n", dest="processes", type=int, default=0, help="processes at once")
    chosen = parser.parse_args()
    results = Results()
    arguments = [str(ROOT / "tests" / "faults"), f"--rootdir={ROOT}", "-q", "-k", "try"]
    arguments += [f"--fault-tries={chosen.tries}", f"--fault-seed={chosen.seed}", f"-n{chosen.processes}"]
    code = pytest.main(arguments, plugins=[results])
    print(f"\n{promises()}\n\nSeed {chosen.seed}, {chosen.tries} tries of each test:\n\n{table(results)}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
