"""Retention: a server deletes what ended long ago, in bounded rounds, one server at a time, never a read-only one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from daglens import upkeep
from daglens.config.settings import Retention, Settings
from daglens.instance import Instance
from daglens.server import retention_loop
from daglens.server.retention_loop import LEASE, Keeper, Round, RoundBounds, carry_out
from daglens.storage.contract import ComputeLogManager, RunStorage
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft, NewRun, RunFilter
from daglens.testing.threads import Clock
from tests.server.conftest import Serve, until

DAY = 86_400_000_000
MONTH = Retention(older_than_days=30)


@pytest.fixture(params=["memory", "sqlite"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    """An instance that keeps runs for 30 days."""
    opened = Instance.ephemeral() if request.param == "memory" else Instance.open(home=tmp_path / "home")
    with opened:
        yield replace(opened, _settings=Settings(retention=MONTH))


def add(instance: Instance, run_id: str, age_days: float, end: str | None = "RUN_SUCCESS") -> None:
    """A run that began and ended so long ago."""
    at = instance.runs.now_us() - int(age_days * DAY)
    instance.create_run(NewRun(run_id, "p", created_at_us=at))
    instance.append(run_id, [EventDraft(kind, timestamp_us=at) for kind in ("RUN_START", end) if kind])


def ids(instance: Instance) -> list[str]:
    """Runs that are there, oldest first."""
    return [run.run_id for run in instance.runs.page(RunFilter(), newest_first=False, limit=1000).runs]


def bounds(**fields: Any) -> RoundBounds:
    return replace(RoundBounds(seconds=3600.0), **fields)


# ------------------------------------------------------------ in a server


def test_a_server_deletes_what_is_too_old(serve: Serve, instance: Instance) -> None:
    """Finished runs go when their time is over, with everything; what is younger, or has not ended, stays."""
    for run_id, age_days in (("old", 31), ("young", 29)):
        add(instance, run_id, age_days)
    add(instance, "open", 60, end=None)
    (instance.artifacts.folder("old") / "report.txt").write_text("words")
    serve(instance, retention_s=0.01)
    until(lambda: ids(instance) == ["open", "young"])
    assert instance.events.heads(["old"])["old"].deleted
    assert not instance.artifacts.list("old").artifacts
    add(instance, "late", 45)
    until(lambda: ids(instance) == ["open", "young"])


def test_read_only_servers_and_others_without_retention(serve: Serve, instance: Instance) -> None:
    """A read-only server deletes nothing, nor does one whose dagster.yaml says nothing of retention."""
    add(instance, "old", 31)
    readers = [
        serve(instance, retention_s=0.01, upkeep_s=0.01, read_only=True),
        serve(replace(instance, _settings=None), retention_s=0.01),
    ]
    for server in readers:
        assert not server.on_loop(_keeps_retention)
    writer = serve(instance, retention_s=0.01)
    assert writer.on_loop(_keeps_retention)
    until(lambda: ids(instance) == [])


def _keeps_retention() -> bool:
    return any(task.get_name() == "daglens-retention" for task in asyncio.all_tasks())


def test_another_server_takes_over(serve: Serve, instance: Instance, tmp_path: Path) -> None:
    """A server that ends gives the work to the next at once."""
    first = Keeper(instance, MONTH)
    assert first.work() is Round.DONE
    add(instance, "old", 31)
    second = Keeper(instance, MONTH)
    assert second.work() is Round.NOT_OURS
    assert ids(instance) == ["old"]
    first.end()
    assert second.work() is Round.DONE
    assert ids(instance) == []


def test_from_dagster_yaml(tmp_path: Path, serve: Serve) -> None:
    """It is `daglens: retention:` that says what goes."""
    home = tmp_path / "from yaml"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "daglens: {retention: {older_than_days: 0.5, statuses: [SUCCESS, CANCELED], keep_last: 1}}\n"
    )
    with Instance.open(home=home) as opened:
        add(opened, "a", 3)
        add(opened, "b", 2, end="RUN_FAILURE")
        add(opened, "c", 1, end="RUN_CANCELED")
        add(opened, "d", 0.9)
        serve(opened, retention_s=0.01)
        until(lambda: ids(opened) == ["b", "d"])


def test_a_clock_that_jumps(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A date of next year, for a moment, deletes nothing that can't be brought back; one that stays counts in the end.
    What grows old in the ordinary way goes meanwhile."""
    steady_s = 0.0
    clock = Clock(instance.runs.now_us())
    for storage in (instance.runs, instance.events):
        monkeypatch.setattr(storage, "_clock", clock)
    monkeypatch.setattr(retention_loop, "monotonic", lambda: steady_s)
    add(instance, "old", 29.5)
    add(instance, "young", 1)
    keeper = Keeper(instance, MONTH, bounds(jump_s=3600.0))
    keeper.work()
    clock.advance_days(365)
    keeper.work()
    assert ids(instance) == ["old", "young"]
    clock.advance_days(-365 + 1)
    steady_s += 86_400.0
    keeper.work()
    assert ids(instance) == ["young"]
    clock.advance_days(365)
    for _ in range(3):
        assert ids(instance) == ["young"]
        keeper.work()
        clock.advance_days(1 / 48)
        steady_s += 1800.0
    assert ids(instance) == []


def test_a_clock_that_jumps_ends_the_lease_too(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes over since the lease of another server ended by the jump doesn't believe it either."""
    clock = Clock(instance.runs.now_us())
    for storage in (instance.runs, instance.events):
        monkeypatch.setattr(storage, "_clock", clock)
    add(instance, "young", 1)
    one, other = Keeper(instance, MONTH, bounds()), Keeper(instance, MONTH, bounds())
    assert (one.work(), other.work()) == (Round.DONE, Round.NOT_OURS)
    clock.advance_days(365)
    assert (other.work(), ids(instance)) == (Round.DONE, ["young"])


# ------------------------------------------------------------ rounds


def test_rounds_are_bounded(instance: Instance) -> None:
    """A round deletes so many runs, oldest first, and looks at so many; the next goes on from there."""
    names = [f"r{n:02}" for n in range(25)]
    for n, name in enumerate(names):
        add(instance, name, 100 - n)
    keeper = Keeper(instance, MONTH, bounds(runs=10))
    assert (keeper.work(), ids(instance)) == (Round.MORE_TO_DELETE, names[10:])
    assert (keeper.work(), ids(instance)) == (Round.MORE_TO_DELETE, names[20:])
    assert (keeper.work(), ids(instance)) == (Round.DONE, [])
    assert keeper.work() is Round.DONE


def test_a_round_has_its_time(instance: Instance) -> None:
    """When its time is over no other run is begun; at least one is deleted."""
    for n in range(3):
        add(instance, f"r{n}", 100 - n)
    keeper = Keeper(instance, MONTH, RoundBounds(seconds=0.0))
    assert (keeper.work(), ids(instance)) == (Round.MORE_TO_DELETE, ["r1", "r2"])


def test_long_histories_are_walked_bit_by_bit(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few runs to delete among many, rounds look at some pages each, until all were seen; then they begin anew."""
    monkeypatch.setattr("daglens.retention.PAGE_RUNS", 4)
    for n in range(15):
        add(instance, f"r{n:02}", 20 - n / 10)
    # Recorded late, so it stands at the end of the list.
    ended = instance.runs.now_us() - 40 * DAY
    instance.create_run(NewRun("late", "p"))
    instance.append("late", [EventDraft("RUN_SUCCESS", timestamp_us=ended)])
    keeper = Keeper(instance, MONTH, bounds(pages=2))
    assert keeper.work() is Round.MORE_TO_SEE
    add(instance, "old", 50)
    assert (keeper.work(), {"old", "late"} & set(ids(instance))) == (Round.MORE_TO_SEE, {"old"})
    assert (keeper.work(), ids(instance)[0]) == (Round.DONE, "old")
    assert (keeper.work(), ids(instance)[0]) == (Round.MORE_TO_SEE, "r00")


# ------------------------------------------------------------ one at a time


def test_of_many_keepers_one_works(instance: Instance) -> None:
    """Keepers of several servers at once: one works, the others are told that it isn't theirs."""
    for n in range(10):
        add(instance, f"r{n}", 40 + n)
    deleting: list[int] = []
    most: list[int] = []
    lock = threading.Lock()
    delete = upkeep.delete_run

    def watched(of: Instance, run_id: str) -> upkeep.DeletedRun:
        with lock:
            deleting.append(1)
            most.append(len(deleting))
        try:
            return delete(of, run_id)
        finally:
            deleting.pop()

    keepers = [Keeper(instance, MONTH) for _ in range(4)]
    ended: list[Round] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "delete_run", watched)
        threads = [threading.Thread(target=lambda k=keeper: ended.append(k.work())) for keeper in keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (ids(instance), max(most), len(most)) == ([], 1, 10)
    assert sorted(ended, key=str) == [Round.DONE, Round.NOT_OURS, Round.NOT_OURS, Round.NOT_OURS]


def test_a_lease_that_was_lost(instance: Instance) -> None:
    """A server whose deletion took longer than its lease stops when another one has taken over."""
    for n in range(5):
        add(instance, f"r{n}", 100 - n)
    keeper = Keeper(instance, MONTH, bounds(lease_s=0.0))
    delete = instance.runs.delete
    others: list[bool] = []

    class Overtaken:
        """A run storage whose lease somebody else takes as soon as it may."""

        def __getattr__(self, name: str) -> Any:
            return getattr(instance.runs, name)

        def lease(self, name: str, holder: str, ttl_s: float) -> bool:
            return bool(cast(Any, instance.runs).lease(name, holder, ttl_s))

        def delete(self, run_ids: list[str]) -> int:
            gone = delete(run_ids)
            others.append(cast(Any, instance.runs).lease(LEASE, "another", 3600))
            return gone

    keeper._instance = replace(instance, runs=cast(RunStorage, Overtaken()))
    assert keeper.work() is Round.NOT_OURS
    assert (others, ids(instance)) == ([True], ["r1", "r2", "r3", "r4"])


def test_storages_without_leases(instance: Instance) -> None:
    """A run storage that knows no leases is kept small as well."""

    class Plain:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == "lease":
                raise AttributeError(name)
            return getattr(self._inner, name)

    add(instance, "old", 31)
    keeper = Keeper(replace(instance, runs=cast(RunStorage, Plain(instance.runs))), MONTH)
    assert (keeper.work(), ids(instance)) == (Round.DONE, [])
    keeper.end()


# ------------------------------------------------------------ what goes wrong


class Sticky:
    """A compute log manager that can't delete the logs of some runs."""

    def __init__(self, *run_ids: str) -> None:
        self.run_ids = run_ids

    def delete(self, run_id: str) -> int:
        """See ComputeLogManager."""
        if run_id in self.run_ids:
            raise PermissionError("not yours")
        return 0


def test_runs_that_cannot_be_deleted(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """However many of the oldest can't be deleted, the others are; each is named once."""
    names = [f"r{n:02}" for n in range(15)]
    for n, name in enumerate(names):
        add(instance, name, 100 - n)
    logs = cast(ComputeLogManager, Sticky(*names[:12]))
    keeper = Keeper(replace(instance, compute_logs=logs), MONTH, bounds(retry_s=3600.0))
    with pytest.raises(StorageUnavailable, match="not yours"):
        keeper.work()
    assert keeper.work() is Round.DONE
    assert ids(instance) == names[:12]
    assert keeper.work() is Round.DONE
    assert [r.getMessage() for r in caplog.records if "r05" in r.getMessage()] == [
        "Retention: run 'r05' can't be deleted; it is tried again later: not yours"
    ]
    patient = Keeper(instance, MONTH)
    keeper.end()
    assert (patient.work(), ids(instance)) == (Round.DONE, [])


async def test_it_goes_on_after_an_outage(instance: Instance) -> None:
    """A storage that does not answer is asked again; an end gives the lease back, also in the middle of a round."""
    add(instance, "old", 31)
    left = [3]

    class Flaky:
        def __getattr__(self, name: str) -> Any:
            return getattr(instance.runs, name)

        def lease(self, name: str, holder: str, ttl_s: float) -> bool:
            return bool(cast(Any, instance.runs).lease(name, holder, ttl_s))

        def page(self, *args: Any, **options: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise StorageUnavailable("Told to fail.")
            return instance.runs.page(*args, **options)

    keeper = Keeper(replace(instance, runs=cast(RunStorage, Flaky())), MONTH)
    task = asyncio.create_task(carry_out(keeper, 0.001))
    await _until(lambda: ids(instance) == [])
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert cast(Any, instance.runs).lease(LEASE, "another", 60)


async def test_ending_waits_for_no_more_than_the_run_under_way(instance: Instance) -> None:
    """A server that is told to stop finishes the run that it deletes, and begins no other."""
    for n in range(5):
        add(instance, f"r{n}", 100 - n)
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Sticky):
        def delete(self, run_id: str) -> int:
            begun.set()
            go_on.wait(60)
            return 0

    keeper = Keeper(replace(instance, compute_logs=cast(ComputeLogManager, Slow())), MONTH)
    task = asyncio.create_task(carry_out(keeper, 60))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await _until(keeper._ending.is_set)
    go_on.set()
    with suppress(asyncio.CancelledError):
        await task
    assert ids(instance) == ["r1", "r2", "r3", "r4"]
    assert cast(Any, instance.runs).lease(LEASE, "another", 60)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.002)
