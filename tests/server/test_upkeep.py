"""What a server does for its instance beside answering."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from daglens.instance import Instance
from daglens.server import upkeep_loop
from daglens.storage.errors import StorageUnavailable
from daglens.storage.memory import InMemoryEventLogStorage, InMemoryRunStorage
from tests.server.conftest import EVENTS, Serve, create, opened, until, write


class Clock:
    """Microseconds, moved by the test alone."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by the server's own clock, to be moved by hand."""
    seconds = [0.0]
    monkeypatch.setattr(upkeep_loop, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


@pytest.fixture
def timed(instance: Instance, clock: Clock) -> Instance:
    """The instance with storages by that clock; one run has had a heartbeat."""
    made = replace(instance, runs=InMemoryRunStorage(clock=clock), events=InMemoryEventLogStorage(clock=clock))
    create(made)
    write(made, 1, event_type="RUN_START")
    made.heartbeat("run", 60)
    return made


def test_silent_run_is_presumed_dead(serve: Serve, timed: Instance, clock: Clock, steady: list[float]) -> None:
    """A run whose recorder falls silent fails by presumption, and its viewers see that live."""
    server = serve(timed, upkeep_s=0.01)
    with opened(server) as socket:
        socket.start(EVENTS, variables={"runId": "run"})
        assert socket.result()["data"]["runEvents"]["runStatus"] == "STARTED"
        rounds = clock.asked + 3
        until(lambda: clock.asked > rounds)  # the server watches since before now
        # A laptop that wakes: the storage's clock has gone on, and the recorder's machine slept, too.
        clock.now += 3600 * 1_000_000
        rounds = clock.asked + 3
        until(lambda: clock.asked > rounds)
        assert timed.events.heads(["run"])["run"].last_seq == 1
        steady[0] += 61
        batch = socket.result()["data"]["runEvents"]
        assert (batch["runStatus"], [event["seq"] for event in batch["events"]]) == ("FAILURE", [2])


def test_upkeep_survives_an_outage(
    serve: Serve, timed: Instance, clock: Clock, steady: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that fails during upkeep is tried again. Silence while it was away counts for nobody: no recorder could
    give a sign of life."""
    failures = 3
    page = InMemoryRunStorage.page

    def fail(self: InMemoryRunStorage, *args: object, **kwargs: object) -> object:
        nonlocal failures
        if failures < 3:
            failures += 1
            steady[0] += 61
            raise StorageUnavailable("Told to fail.")
        return page(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(InMemoryRunStorage, "page", fail)
    serve(timed, upkeep_s=0.01)
    rounds = clock.asked + 3
    until(lambda: clock.asked > rounds)
    failures = 0
    until(lambda: failures == 3)
    rounds = clock.asked + 3
    until(lambda: clock.asked > rounds)
    assert timed.events.heads(["run"])["run"].last_seq == 1
    steady[0] += 61
    until(lambda: timed.events.heads(["run"])["run"].last_seq == 2)


def test_read_only_server_writes_nothing(serve: Serve, timed: Instance, clock: Clock) -> None:
    """A read-only server has no mutations and does no upkeep."""
    server = serve(timed, upkeep_s=0.01, read_only=True)
    with opened(server) as socket:
        socket.start("{ __schema { mutationType { name } } }")
        assert socket.result()["data"]["__schema"]["mutationType"] is None
    assert not server.on_loop(_keeps_up)
    other = serve(timed, upkeep_s=0.01)
    assert other.on_loop(_keeps_up)


def _keeps_up() -> bool:
    import asyncio

    return any(task.get_name() == "daglens-upkeep" for task in asyncio.all_tasks())
