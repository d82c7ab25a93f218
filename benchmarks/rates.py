"""Rates of several ways to do one thing, measured in turns: what else the machine does meets them all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Measure = Callable[[float], float]
"""Takes for how many seconds to work, gives how many a second were done."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Lowest, median and highest of some figures."""

    lowest: float
    median: float
    highest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """The spread of at least one figure."""
        return cls(min(figures), statistics.median(figures), max(figures))

    def text(self, pattern: str = "{:,.0f}") -> str:
        """Median, then lowest and highest in brackets."""
        return f"{pattern} ({pattern} … {pattern})".format(self.median, self.lowest, self.highest)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rates of each way, one per round."""

    rates: Mapping[str, Sequence[float]]

    def rate(self, way: str) -> Spread:
        """A way's rates."""
        return Spread.of(self.rates[way])

    def ratio(self, way: str, *others: str) -> Spread:
        """A way's rate over that of the fastest of the others, round by round."""
        return Spread.of(
            [
                rate / max(other)
                for rate, *other in zip(self.rates[way], *(self.rates[name] for name in others), strict=True)
            ]
        )

    def noise(self, way: str) -> float:
        """How many times the slowest round of a way the fastest one was."""
        return max(self.rates[way]) / min(self.rates[way])


def compare(ways: Mapping[str, Measure], *, repeats: int = 5, seconds: float = 0.5) -> Comparison:
    """Measure each way once in each of `repeats` rounds, after a warm-up."""
    for measure in ways.values():
        measure(seconds / 2)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, measure in ways.items():
            rates[name].append(measure(seconds))
    return Comparison(rates)


def rate(
    make: Callable[[], T],
    store: Callable[[T], object],
    size: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """How many a second are stored, `size` with each call; to make them doesn't count.

    `clock` gives seconds: where one thread does all the work, its processor time (`time.thread_time`) tells more on a
    machine that has other work.
    """
    spent = 0.0
    batches = 0
    while spent < seconds:
        batch = make()
        begun = clock()
        store(batch)
        spent += clock() - begun
        batches += 1
    return batches * size / spent
