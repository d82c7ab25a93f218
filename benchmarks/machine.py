"""How quiet the machine was while something was measured."""

from __future__ import annotations

import os
import platform
import time

ROUNDS = 2_000_000


class Noise:
    """A loop of a fixed amount of work, timed between the cases: what it varies by, nothing that is measured caused."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def look(self) -> float:
        """Run the loop once; seconds it took."""
        begun = time.perf_counter()
        for _ in range(ROUNDS):
            pass
        self._seconds.append(time.perf_counter() - begun)
        return self._seconds[-1]

    @property
    def spread(self) -> float:
        """How many times the fastest loop the slowest took; 1.0 on a quiet machine."""
        return max(self._seconds) / min(self._seconds)

    def text(self) -> str:
        """One line for the end of a table."""
        load = os.getloadavg()[0]
        return (
            f"noise: a loop of fixed work, run {len(self._seconds)} times between the cases, took up to "
            f"{self.spread:.2f} times its shortest time; load average at the end {load:.1f} on {os.cpu_count()} cores"
        )


def described() -> str:
    """The machine in one line."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
