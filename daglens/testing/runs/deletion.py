"""Deleting runs, and what stays of them for 90 days."""

from __future__ import annotations

from functools import partial

import pytest

from daglens.storage.contract import TOMBSTONE_DAYS, RunStorage
from daglens.storage.errors import InvalidName, RunDeleted
from daglens.storage.records import NewRun, RunFilter
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.runs.topic import NO_FILTER, RunTopic, add, ids, walk
from daglens.testing.threads import Clock, together


class RunDeletion(RunTopic):
    """`delete`."""

    def test_deleted_run_is_gone_everywhere(self, storage: RunStorage) -> None:
        """No question finds it any more, nor its tags; the other runs are as they were."""
        add(storage, "gone", "old", tags=(("only here", "1"), ("shared", "1")))
        kept = add(storage, "kept", tags=(("shared", "2"),), parent_run_id="gone", root_run_id="gone")
        assert storage.delete(["gone"]) == 1
        assert storage.get(["gone", "kept"]) == {"kept": kept}
        assert walk(storage) == ["kept"]
        assert ids(storage.page(RunFilter(run_ids=["gone"])).runs) == []
        assert ids(storage.page(RunFilter(root_run_id="gone")).runs) == ["kept"]
        assert storage.count(NO_FILTER, 10) == 1
        assert list(storage.tag_keys("", 10)) == ["shared"]
        assert list(storage.tag_values("shared", "", 10)) == ["2"]
        assert list(storage.pipeline_names("", 10)) == ["nightly"]

    def test_tells_how_many_rows_went(self, storage: RunStorage) -> None:
        """Unknown ids, ids deleted before and repetitions don't count."""
        for run_id in ("r1", "r2", "r3"):
            add(storage, run_id)
        assert storage.delete([]) == 0
        assert storage.delete(["r1", "nobody", "r2", "r1"]) == 2
        assert storage.delete(["r1", "r3"]) == 1
        assert storage.delete([f"x{n}" for n in range(1000)]) == 0

    def test_id_stays_closed(self, storage: RunStorage, second: RunStorage) -> None:
        """A deleted id takes no new run, nor the same again, on any instance."""
        add(storage, "r1")
        storage.delete(["r1"])
        for by in (storage, second):
            for run in (NewRun("r1", "nightly"), NewRun("r1", "other")):
                with pytest.raises(RunDeleted) as caught:
                    by.add(run)
                assert caught.value.run_id == "r1"
        assert storage.get(["r1"]) == {}

    def test_id_without_a_row_is_closed_too(self, storage: RunStorage) -> None:
        """A run whose events came before its row can be deleted: the row that comes late is refused."""
        assert storage.delete(["late"]) == 0
        with pytest.raises(RunDeleted):
            storage.add(NewRun("late", "nightly"))

    def test_impossible_names(self, storage: RunStorage) -> None:
        """Deleting what can't exist deletes nothing, and what can is deleted beside it."""
        for name in IMPOSSIBLE_NAMES:
            assert storage.delete([name]) == 0
        add(storage, "r1")
        assert storage.delete([*IMPOSSIBLE_NAMES, "r1"]) == 1

    def test_concurrent_deletions_count_once(self, storage: RunStorage, second: RunStorage) -> None:
        """Of several calls with the same ids, each row is counted by exactly one."""
        run_ids = [add(storage, f"r{n}").run_id for n in range(20)]
        calls = [
            partial(by.delete, part)
            for by, part in zip((storage, second) * 2, (run_ids, run_ids[::-1], run_ids[5:], run_ids[:15]), strict=True)
        ]
        assert sum(together(calls)) == 20
        assert storage.count(NO_FILTER, 10) == 0


class RunTombstoneExpiry(RunTopic):
    """Tombstones go after 90 days. For storages whose clock can be set: it gives the fixture `clock`, too, and
    `storage` uses it."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock that `storage` was made with."""
        return Clock()

    def test_id_is_free_after_ninety_days(self, storage: RunStorage, clock: Clock) -> None:
        """Before, the id is closed; after, it is as if the run had never been."""
        add(storage, "r1", tags=(("a", "1"),))
        storage.delete(["r1", "never was"])
        clock.advance_days(TOMBSTONE_DAYS - 1)
        for run_id in ("r1", "never was"):
            with pytest.raises(RunDeleted):
                storage.add(NewRun(run_id, "nightly"))
        storage.delete(["another"])
        clock.advance_days(2)
        for run_id in ("r1", "never was"):
            assert add(storage, run_id).tags == ()
        with pytest.raises(RunDeleted):
            storage.add(NewRun("another", "nightly"))

    def test_position_that_could_miss_a_deletion(self, storage: RunStorage, clock: Clock) -> None:
        """Who comes back to the changes after deletions were forgotten is refused, or told of them: never left with
        runs that are gone. The same when a walk through the changes took that long."""
        for run_id in ("r1", "r2", "r3"):
            add(storage, run_id)
        position = storage.changes(None, 10).position
        storage.delete(["r1", "r2", "r3"])
        clock.advance_days(TOMBSTONE_DAYS - 5)
        assert sorted(storage.changes(position, 10).deleted) == ["r1", "r2", "r3"]
        page = storage.changes(position, 1)
        assert (len(page.deleted), page.has_more) == (1, True)
        left = {"r1", "r2", "r3"} - set(page.deleted)
        clock.advance_days(10)
        # Old tombstones go while something else is deleted.
        storage.delete(["another"])
        for old, deleted in ((position, {"r1", "r2", "r3"}), (page.position, left)):
            try:
                changes = storage.changes(old, 10)
            except InvalidName:
                continue
            assert deleted <= set(changes.deleted)
        add(storage, "r4")
        assert list(storage.changes(storage.changes(None, 10).position, 10).changed) == []

    def test_deleting_again_does_not_prolong(self, storage: RunStorage, clock: Clock) -> None:
        """A deletion that is carried on later counts from its beginning or from its end; 90 days after both it is
        over."""
        add(storage, "r1")
        storage.delete(["r1"])
        clock.advance_days(30)
        storage.delete(["r1"])
        clock.advance_days(TOMBSTONE_DAYS + 1)
        assert add(storage, "r1").run_id == "r1"

    def test_times_are_of_the_storage_clock(self, storage: RunStorage, clock: Clock) -> None:
        """Created, updated and heard of: by this clock."""
        assert storage.now_us() == clock()
        run = add(storage, "r1")
        assert (run.created_at_us, run.updated_at_us) == (clock(), clock())
        clock.advance_days(1)
        assert storage.heartbeat("r1", 60).heartbeat_at_us == clock()
        assert storage.add_tags("r1", [("a", "1")]).updated_at_us == clock()
