"""What a pipeline hands in by mistake: it is recorded as well as can be, and never fails the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.recorder import start_run
from daglens.storage.records import LogLevel
from tests.recorder.conftest import only_run


class Odd:
    """Nothing can be asked of it."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class OddText(str):
    """A text that doesn't want to be one."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class OddDict(dict[str, Any]):
    """A mapping that doesn't tell what it holds."""

    def items(self) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError


ODD = [Odd(), OddText("x"), OddDict(a=1), [Odd()], {Odd(): 1}, 5, None, b"\xff", float("nan"), 10**5000]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_values(instance: Instance, odd: Any) -> None:
    """Any value may stand anywhere: nothing raises, and what comes after it is recorded, too."""
    with start_run("odd", instance=instance) as run:
        with run.step(odd) as step:
            step.materialize(odd, {"value": odd}, odd, odd, odd)
            step.materialize("a", odd)
            step.expect(odd, success=False, metadata=odd, description=odd)
            step.input(odd, odd)
            step.output(odd, odd)
            step.object_store("SET_OBJECT", odd, odd)
            step.event(odd, odd, {"value": odd}, odd)
            step.event("OWN", odd, odd, odd)
        run.skip_step(odd, odd)
        run.event(odd, odd, {"value": odd}, odd)
        run.event("OWN", odd, odd, odd)
    told = only_run(instance)
    assert told.status == "SUCCESS"
    assert told.types.count("STEP_MATERIALIZATION") == 2
    assert told.types.count("OWN") == 2
    assert told.types[-1] == "RUN_SUCCESS"


def test_step_keys_that_are_no_texts(instance: Instance) -> None:
    """A number is a step key by its text."""
    with start_run("odd", instance=instance) as run, run.step(7) as step:  # type: ignore[arg-type]
        assert step.key == "7"
    assert only_run(instance).step_status("7") == "SUCCESS"


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ("warning", LogLevel.WARNING),
        ("nope", LogLevel.INFO),
        (None, LogLevel.INFO),
        (25, LogLevel.INFO),
        (99, LogLevel.CRITICAL),
    ],
)
def test_odd_levels(instance: Instance, given: Any, level: LogLevel) -> None:
    """A level that is none of the five reads as the nearest; it doesn't hold up the events behind it."""
    with start_run("odd", instance=instance) as run:
        run.event("OWN", "a message", level=given)
    told = only_run(instance)
    assert told.one("OWN").level == level
    assert told.types[-1] == "RUN_SUCCESS"
