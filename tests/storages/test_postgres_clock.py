"""The clock of a PostgreSQL server, as one process counts it on."""

from __future__ import annotations

import sys
import time

import pytest

from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres import clock
from daglens.storage.postgres.clock import ServerClock

SECOND_NS = 1_000_000_000


class Steady:
    """A clock of this machine that the test moves."""

    now_ns = 5 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    made = Steady()
    monkeypatch.setattr(clock, "steady_ns", made)
    return made


def test_it_is_asked_for_each_half_minute(steady: Steady) -> None:
    """In between it is counted on, and what the two clocks drift apart is made good; a little back is stood still."""
    answers = iter([1_000_000_000, 1_029_999_900, 1_100_000_000])
    told = ServerClock(lambda: next(answers))
    assert told() == 1_000_000_000
    steady.now_ns += 29 * SECOND_NS + SECOND_NS // 2
    assert told() == 1_029_500_000
    steady.now_ns += SECOND_NS // 2
    assert told() == 1_029_999_900
    steady.now_ns += 31 * SECOND_NS
    assert told() == 1_100_000_000


def test_a_server_that_does_not_answer(steady: Steady) -> None:
    """It is needed once; later the last answer is counted on, and a second after it is asked again."""
    with pytest.raises(StorageUnavailable):
        ServerClock(_away)()
    answers = [_away, lambda: 1_000_000_000]
    told = ServerClock(lambda: answers.pop()())
    told()
    steady.now_ns += 30 * SECOND_NS
    assert told() == 1_030_000_000
    answers.append(lambda: 7_000_000_000)
    assert told() == 1_030_000_000
    steady.now_ns += SECOND_NS
    assert told() == 7_000_000_000


def _away() -> int:
    raise StorageUnavailable("away")


@pytest.mark.skipif(sys.platform != "linux", reason="no such clock")
def test_it_counts_while_the_machine_sleeps() -> None:
    """On Linux it is the clock that goes on in a suspended machine."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= clock.steady_ns() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
