"""Changes since a position: what the live run list follows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName
from daglens.storage.records import NewRun, RunChanges, RunState, RunStatus
from daglens.testing.runs.topic import RunTopic, add
from daglens.testing.threads import together


def _now(storage: RunStorage) -> str:
    """The position of now."""
    return storage.changes(None, 100).position


def _since(storage: RunStorage, position: str) -> tuple[list[str], list[str]]:
    """Changed and deleted ids since a position, all of them."""
    changes = storage.changes(position, 1000)
    assert not changes.has_more
    return list(changes.changed), list(changes.deleted)


class RunChangesTopic(RunTopic):
    """`changes`."""

    def test_without_a_position(self, storage: RunStorage) -> None:
        """None gives the position of now, and no changes."""
        add(storage, "r1")
        changes = storage.changes(None, 100)
        assert (list(changes.changed), list(changes.deleted), changes.has_more) == ([], [], False)
        assert _since(storage, changes.position) == ([], [])

    def test_position_in_an_empty_storage(self, storage: RunStorage) -> None:
        """The first run of all is a change after the position that was taken before it."""
        start = _now(storage)
        add(storage, "r1")
        assert _since(storage, start) == (["r1"], [])

    def test_each_kind_of_change(self, storage: RunStorage) -> None:
        """Creation, tags, status, start, end and deletion are changes, each after the position before it."""
        position = _now(storage)
        add(storage, "r1")
        assert _since(storage, position) == (["r1"], [])
        position = _now(storage)
        storage.add_tags("r1", [("a", "1")])
        assert _since(storage, position) == (["r1"], [])
        states = [
            RunState(RunStatus.QUEUED, state_seq=1),
            RunState(RunStatus.STARTED, started_at_us=1, state_seq=2),
            RunState(RunStatus.FAILURE, 1, 2, presumed=True, state_seq=3),
            RunState(RunStatus.FAILURE, 1, 2, presumed=False, state_seq=4),
        ]
        for state in states:
            position = _now(storage)
            storage.project("r1", state)
            assert _since(storage, position) == (["r1"], []), state
        position = _now(storage)
        storage.delete(["r1"])
        assert _since(storage, position) == ([], ["r1"])

    def test_what_is_no_change(self, storage: RunStorage) -> None:
        """A heartbeat, a run that is there already and a projection that says nothing new are none."""
        add(storage, "r1")
        storage.project("r1", RunState(RunStatus.STARTED, started_at_us=1, state_seq=1))
        position = _now(storage)
        storage.heartbeat("r1", 60)
        storage.add(NewRun("r1", "nightly"))
        storage.project("r1", RunState(RunStatus.STARTED, started_at_us=1, state_seq=1))
        storage.project("r1", RunState(RunStatus.STARTED, started_at_us=1, state_seq=2))
        assert _since(storage, position) == ([], [])

    def test_each_run_once_in_order_of_its_latest_change(self, storage: RunStorage) -> None:
        """A run that changed often is given once, where its latest change stands."""
        start = _now(storage)
        for run_id in ("r1", "r2", "r3"):
            add(storage, run_id)
        storage.add_tags("r1", [("a", "1")])
        storage.add_tags("r1", [("a", "2")])
        assert _since(storage, start) == (["r2", "r3", "r1"], [])

    def test_created_and_deleted_in_between(self, storage: RunStorage) -> None:
        """A run that is gone isn't given as changed."""
        start = _now(storage)
        add(storage, "r1")
        storage.delete(["r1"])
        changed, deleted = _since(storage, start)
        assert changed == []
        assert deleted in ([], ["r1"])

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
    def test_walk_in_pages(self, storage: RunStorage, limit: int) -> None:
        """More than `limit` changes come in pages; changed and deleted ones together keep their order."""
        for n in range(6):
            add(storage, f"r{n}")
        position = _now(storage)
        storage.add_tags("r4", [("a", "1")])
        storage.delete(["r0"])
        storage.add_tags("r2", [("a", "1")])
        storage.delete(["r5"])
        storage.add_tags("r1", [("a", "1")])
        pages: list[RunChanges] = []
        while not pages or pages[-1].has_more:
            pages.append(storage.changes(position, limit))
            position = pages[-1].position
            assert len(pages[-1].changed) + len(pages[-1].deleted) <= limit
            assert len(pages) < 10, "the walk goes on for ever"
        assert [run_id for page in pages for run_id in page.changed] == ["r4", "r2", "r1"]
        assert [run_id for page in pages for run_id in page.deleted] == ["r0", "r5"]
        assert _since(storage, position) == ([], [])

    def test_older_positions_stay_good(self, storage: RunStorage) -> None:
        """Readers stand at different places; an old position gives everything since, as often as it is asked for."""
        old = _now(storage)
        add(storage, "r1")
        new = _now(storage)
        add(storage, "r2")
        for _ in range(2):
            assert _since(storage, old) == (["r1", "r2"], [])
            assert _since(storage, new) == (["r2"], [])

    def test_position_works_on_another_instance(self, storage: RunStorage, second: RunStorage) -> None:
        """A position is good wherever the same data is read."""
        position = _now(storage)
        second.add(NewRun("r1", "nightly"))
        assert _since(second, position) == (["r1"], [])
        assert _since(storage, position) == (["r1"], [])

    @pytest.mark.parametrize("position", ["", "nonsense", "-1", "1.5", "é", "a\0b", "\ud800", "9" * 30, "' OR 1=1 --"])
    def test_no_position_of_this_storage(self, storage: RunStorage, position: str) -> None:
        """What isn't a position is refused, never read as one."""
        add(storage, "r1")
        with pytest.raises(InvalidName):
            storage.changes(position, 10)

    def test_nothing_is_lost_while_many_write(self, storage: RunStorage, second: RunStorage) -> None:
        """A reader that follows while transactions overlap ends up with every run as it really is."""
        writers, rounds = 8, 6
        done = threading.Event()
        mirror: dict[str, tuple[tuple[str, str], ...]] = {}
        position = _now(storage)

        def follow() -> None:
            nonlocal position
            while True:
                last = done.is_set()
                while True:
                    changes = storage.changes(position, 7)
                    position = changes.position
                    runs = storage.get(changes.changed)
                    mirror.update({run_id: run.tags for run_id, run in runs.items()})
                    for run_id in changes.deleted:
                        mirror.pop(run_id, None)
                    if not changes.has_more:
                        break
                if last:
                    return

        finished = threading.Semaphore(0)

        def write(worker: int, by: RunStorage) -> None:
            try:
                for n in range(rounds):
                    by.add(NewRun(f"{worker}-{n}", "nightly"))
                    by.add_tags(f"{worker}-{n}", [("n", "1")])
                    if n >= 2:
                        by.add_tags(f"{worker}-{n - 2}", [("n", "2")])
                    if n >= 4:
                        by.delete([f"{worker}-{n - 4}"])
            finally:
                finished.release()

        def end() -> None:
            for _ in range(writers):
                finished.acquire()
            done.set()

        actions: list[Callable[[], None]] = [follow, end]
        actions += [partial(write, worker, by) for worker, by in enumerate((storage, second) * (writers // 2))]
        together(actions)
        left = [f"{worker}-{n}" for worker in range(writers) for n in range(rounds - 4, rounds)]
        assert mirror == {run_id: run.tags for run_id, run in storage.get(left).items()}
        assert sorted(mirror) == sorted(left)
