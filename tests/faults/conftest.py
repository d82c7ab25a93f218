"""Trials of the faults that daglens.testing.faults names: each as often, and with the seed, that pytest is told.

`--fault-tries N --fault-seed N`; benchmarks/faults.py runs them all and prints the table of docs/reliability.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daglens.testing.faults import Fault, fault
from tests.acceptance.programs import Serve, servers
from tests.recorder.capture.conftest import logs, run, script
from tests.recorder.conftest import home, local, program
from tests.storages.postgres_server import postgres, postgres_config, postgres_schema

__all__ = [
    "home",
    "local",
    "logs",
    "postgres",
    "postgres_config",
    "postgres_schema",
    "program",
    "run",
    "script",
]

RESULT = "fault trial"


class Trial:
    """One trial of a fault.

    Attributes:
        random: Where the fault strikes is drawn from here: the same for the same seed and number.
        acknowledged: How many events or bytes daglens had acknowledged when it struck.
        lost: How many of them were not there afterwards.
    """

    def __init__(self, fault: Fault, seed: int, number: int, test: str) -> None:
        self.fault = fault
        self.random = random.Random(f"{seed} {fault.name} {test} {number}")
        self.acknowledged = 0
        self.lost = 0
        self._seen = False

    def kept(self, acknowledged: int, found: int) -> None:
        """Compare what was acknowledged with what is there.

        Raises:
            AssertionError: Something is lost.
        """
        self.acknowledged += acknowledged
        self.lost += max(0, acknowledged - found)
        assert found >= acknowledged, f"{acknowledged} acknowledged, {found} there"

    def saw(self, told: str) -> None:
        """What a user was told: one line, with the sentence that the list of faults promises, and no traceback.

        Raises:
            AssertionError: It isn't.
        """
        assert self.fault.seen is not None
        assert self.fault.seen in told, told
        assert "\n" not in told.strip() and "Traceback" not in told, told
        self._seen = True

    def finish(self) -> dict[str, object]:
        """The trial is over; what the table is made from.

        Raises:
            AssertionError: The user was told nothing, where the list says that he is.
        """
        assert self._seen == (self.fault.seen is not None), "nobody was told"
        return {"fault": self.fault.name, "acknowledged": self.acknowledged, "lost": self.lost}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many trials of a test as `--fault-tries` says."""
    if "trial" in metafunc.fixturenames:
        tries = metafunc.config.getoption("--fault-tries")
        metafunc.parametrize("trial", range(tries), indirect=True, ids=[f"try {n}" for n in range(tries)])


@pytest.fixture
def trial(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Iterator[Trial]:
    """A trial of the fault that the test's mark names."""
    mark = request.node.get_closest_marker("fault")
    made = Trial(fault(mark.args[0]), request.config.getoption("--fault-seed"), request.param, request.node.name)
    yield made
    record_property(RESULT, made.finish())


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `daglens serve` on an instance's folder."""
    with servers(tmp_path) as start:
        yield start
