"""Which finished runs have been kept long enough, and their deletion one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from daglens import retention
from daglens.instance import Instance
from daglens.retention import Rule, Undeleted, delete_runs, expired
from daglens.storage import event_types as et
from daglens.storage.contract import ComputeLogManager
from daglens.storage.errors import StorageUnavailable
from daglens.storage.records import EventDraft, NewRun, RunFilter, RunRecord, RunStatus
from daglens.upkeep import DeletedRun

DAY = 86_400_000_000
NOW = 1_790_000_000_000_000


@pytest.fixture
def instance() -> Iterator[Instance]:
    with Instance.ephemeral() as opened:
        yield opened


def add(instance: Instance, run_id: str, created: float, ended: float | None, end: str = et.RUN_SUCCESS) -> None:
    """A run created and ended so many days ago."""
    created_at = NOW - int(created * DAY)
    instance.create_run(NewRun(run_id, "p", created_at_us=created_at))
    instance.append(run_id, [EventDraft(et.RUN_START, timestamp_us=created_at)])
    if ended is not None:
        instance.append(run_id, [EventDraft(end, timestamp_us=NOW - int(ended * DAY))])


def ids(instance: Instance, **rule: object) -> list[str]:
    """What a rule lets go, in order."""
    pages = expired(instance.runs, Rule(NOW - 30 * DAY, **rule))  # type: ignore[arg-type]
    return [run.run_id for page in pages for run in page]


def test_which_runs(instance: Instance) -> None:
    """Finished runs that ended before the time, oldest first; when they began or were recorded is no matter."""
    add(instance, "old", 40, 40)
    add(instance, "older", 50, 50, et.RUN_FAILURE)
    add(instance, "new", 1, 1)
    add(instance, "long", 60, 29)
    add(instance, "open", 100, None)
    add(instance, "recorded late", 0, 35, et.RUN_CANCELED)
    assert ids(instance) == ["older", "old", "recorded late"]
    assert ids(instance, statuses=(RunStatus.FAILURE, RunStatus.CANCELED)) == ["older", "recorded late"]
    assert ids(instance, statuses=(RunStatus.STARTED,)) == []
    assert ids(instance, statuses=()) == []


def test_a_recorder_whose_clock_is_far_behind(instance: Instance) -> None:
    """A run with a heartbeat is kept as long after it as any other, though its own times are of long ago."""
    add(instance, "watched", 40, None)
    heard_us = instance.heartbeat("watched").heartbeat_at_us
    assert heard_us is not None
    instance.append("watched", [EventDraft(et.RUN_SUCCESS, timestamp_us=NOW - 40 * DAY)])
    add(instance, "other", 40, 40)

    def gone(ended_before_us: int) -> list[str]:
        return [run.run_id for page in expired(instance.runs, Rule(ended_before_us)) for run in page]

    assert gone(heard_us) == ["other"]
    assert sorted(gone(heard_us + 1)) == ["other", "watched"]


def test_the_time_itself(instance: Instance) -> None:
    """A run that ended at the very time stays; one microsecond earlier goes."""
    add(instance, "at", 40, 30)
    add(instance, "before", 40, 30 + 1 / DAY)
    assert ids(instance) == ["before"]


@pytest.mark.parametrize(
    ("keep", "gone"), [(0, ["r5", "r4", "r3"]), (2, ["r5", "r4", "r3"]), (3, ["r5", "r4"]), (5, []), (9, [])]
)
def test_the_newest_stay(instance: Instance, keep: int, gone: list[str]) -> None:
    """The newest runs of the instance stay, however old, those counted that wouldn't go anyway."""
    for n in (3, 4, 5):
        add(instance, f"r{n}", n * 20, n * 20)
    add(instance, "new", 1, 1)
    add(instance, "open", 35, None)
    assert ids(instance, keep_last=keep) == gone


def test_newest_of_many(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are counted over any number of pages."""
    monkeypatch.setattr(retention, "_MAX_LIMIT", 7)
    monkeypatch.setattr(retention, "PAGE_RUNS", 4)
    for n in range(30):
        add(instance, f"r{n:02}", 100 - n, 100 - n)
    assert ids(instance, keep_last=20) == [f"r{n:02}" for n in range(10)]
    assert ids(instance, keep_last=29) == ["r00"]
    assert ids(instance, keep_last=30) == []


def test_deleting_while_walking(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deleted, and what is added, between two pages loses no run and names none twice."""
    monkeypatch.setattr(retention, "PAGE_RUNS", 3)
    for n in range(20):
        add(instance, f"r{n:02}", 100 - n, 100 - n if n % 5 else 1)
    seen = []
    for page in expired(instance.runs, Rule(NOW - 30 * DAY)):
        assert len(page) <= 3
        seen += [gone.run_id for gone in delete_runs(instance, page)]
        add(instance, f"more{len(seen)}", 200, 1)
    assert seen == [f"r{n:02}" for n in range(20) if n % 5]
    left = [run.run_id for run in instance.runs.page(RunFilter(), limit=100).runs]
    assert [run_id for run_id in left if run_id.startswith("r")] == ["r15", "r10", "r05", "r00"]


class Sticky:
    """A compute log manager that can't delete the logs of some runs."""

    def __init__(self, *run_ids: str) -> None:
        self.run_ids = run_ids

    def delete(self, run_id: str) -> int:
        if run_id in self.run_ids:
            raise PermissionError("not yours")
        return 7


def with_logs(instance: Instance, logs: Sticky) -> Instance:
    return replace(instance, compute_logs=cast(ComputeLogManager, logs))


def records(instance: Instance) -> list[RunRecord]:
    return list(instance.runs.page(RunFilter(), newest_first=False, limit=100).runs)


def test_a_run_that_stays(instance: Instance) -> None:
    """A run that can't be deleted is named with its error and doesn't keep the others; later it goes on from there."""
    sticky = with_logs(instance, Sticky("b"))
    for n, run_id in enumerate("abc"):
        add(instance, run_id, 50 - n, 50 - n)
    first, second, third = delete_runs(sticky, records(instance))
    assert (first, third) == (DeletedRun("a", 2, 7), DeletedRun("c", 2, 7))
    assert isinstance(second, Undeleted)
    assert (second.run_id, str(second.error)) == ("b", "not yours")
    assert ids(instance) == ["b"]
    assert list(delete_runs(instance, records(instance))) == [DeletedRun("b", 2, 0)]


def test_a_storage_that_fails(instance: Instance) -> None:
    """When run after run can't be deleted it ends instead of going through all of them."""
    names = [f"r{n:02}" for n in range(15)]
    sticky = with_logs(instance, Sticky(*names))
    for n, run_id in enumerate(names):
        add(instance, run_id, 50 - n, 50 - n)
    deleting = delete_runs(sticky, records(instance))
    assert [next(deleting).run_id for _ in range(10)] == names[:10]
    with pytest.raises(StorageUnavailable, match="not yours"):
        next(deleting)


def test_deleted_by_somebody_else(instance: Instance) -> None:
    """A run that is gone by the time its turn comes is not counted."""
    add(instance, "a", 50, 50)
    found = records(instance)
    instance.runs.delete(["a"])
    assert list(delete_runs(instance, found)) == []
