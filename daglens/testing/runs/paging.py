"""Lists of runs: order, pages and cursors, while runs come and go."""

from __future__ import annotations

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.records import RunFilter, RunParts, RunPosition, RunState, RunStatus, TagFilter
from daglens.testing.runs.topic import NO_FILTER, RunTopic, add, ids, position, walk

BASE_US = 1_700_000_000_000_000

EVERY_FILTER = {
    "none": NO_FILTER,
    "run ids": RunFilter(run_ids=[f"run {n:02}" for n in range(0, 40, 2)]),
    "pipeline": RunFilter(pipeline_names=["even", "other"]),
    "status": RunFilter(statuses=[RunStatus.QUEUED, RunStatus.STARTED]),
    "tag": RunFilter(tags=[TagFilter("parity", "even")]),
    "tag key": RunFilter(tags=[TagFilter("even")]),
    "two tags": RunFilter(tags=[TagFilter("parity", "even"), TagFilter("even")]),
    "created": RunFilter(created_after_us=BASE_US, created_before_us=BASE_US + 1000),
    "updated": RunFilter(updated_after_us=0),
    "parent": RunFilter(parent_run_id="even"),
    "root": RunFilter(root_run_id="even"),
    "all": RunFilter(pipeline_names=["even"], statuses=[RunStatus.QUEUED], tags=[TagFilter("parity", "even")]),
}


def _add_numbered(storage: RunStorage, number: int, created_at_us: int) -> str:
    """A run that every filter of EVERY_FILTER matches when `number` is even."""
    parity = "odd" if number % 2 else "even"
    return add(
        storage,
        f"run {number:02}",
        parity,
        status=RunStatus.NOT_STARTED if number % 2 else RunStatus.QUEUED,
        tags=(("parity", parity), (parity, "")),
        parent_run_id=parity,
        root_run_id=parity,
        created_at_us=created_at_us,
    ).run_id


class RunPaging(RunTopic):
    """`page`: keyset pages by (created_at_us, run_id)."""

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_order_is_by_creation_then_id(self, storage: RunStorage, newest_first: bool) -> None:
        """Runs created in the same microsecond stand in order of their ids, by code points."""
        times = {"b": 2, "a": 2, "B": 2, "z": 1, "ä": 2, "0": 3, "a1": 2, "_": 2}
        for run_id, created in times.items():
            add(storage, run_id, created_at_us=BASE_US + created)
        expected = sorted(times, key=lambda run_id: (times[run_id], run_id), reverse=newest_first)
        assert ids(storage.page(NO_FILTER, newest_first=newest_first).runs) == expected
        for limit in (1, 2, 3, 8, 9):
            assert walk(storage, newest_first=newest_first, limit=limit) == expected

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_has_more_is_exact(self, storage: RunStorage, newest_first: bool) -> None:
        """A page says that there are more exactly when there are, also when it is just full."""
        for number in range(6):
            _add_numbered(storage, number, BASE_US + number)
        for limit, more in ((5, True), (6, False), (7, False)):
            assert storage.page(NO_FILTER, newest_first=newest_first, limit=limit).has_more is more
        evens = EVERY_FILTER["tag"]
        for limit, more in ((2, True), (3, False), (4, False)):
            assert storage.page(evens, newest_first=newest_first, limit=limit).has_more is more

    def test_limit_zero_gives_no_runs(self, storage: RunStorage) -> None:
        """A limit of 0 means none, not all."""
        add(storage, "r1")
        assert list(storage.page(NO_FILTER, limit=0).runs) == []

    def test_empty_storage_has_one_empty_page(self, storage: RunStorage) -> None:
        """No runs: an empty page that says so."""
        page = storage.page(NO_FILTER)
        assert (list(page.runs), page.has_more) == ([], False)

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_position_of_no_run(self, storage: RunStorage, newest_first: bool) -> None:
        """A position is a place, not a run: it works when no run stands there (any more)."""
        for number in (0, 1, 2, 3):
            add(storage, f"r{number}", created_at_us=BASE_US + 10 * number)
        between = RunPosition(BASE_US + 15, "anything")
        page = storage.page(NO_FILTER, newest_first=newest_first, after=between)
        assert ids(page.runs) == (["r1", "r0"] if newest_first else ["r2", "r3"])
        storage.delete(["r1"])
        page = storage.page(NO_FILTER, newest_first=newest_first, after=RunPosition(BASE_US + 10, "r1"))
        assert ids(page.runs) == (["r0"] if newest_first else ["r2", "r3"])

    def test_positions_at_both_ends(self, storage: RunStorage) -> None:
        """Beyond the last run there is nothing, and no more."""
        add(storage, "r1", created_at_us=BASE_US)
        for newest_first, end in ((True, RunPosition(0, "")), (False, RunPosition(2**62, "z"))):
            page = storage.page(NO_FILTER, newest_first=newest_first, after=end)
            assert (list(page.runs), page.has_more) == ([], False)

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize("name", list(EVERY_FILTER))
    def test_walk_while_runs_come_and_go(self, storage: RunStorage, name: str, newest_first: bool) -> None:
        """Whatever is inserted and deleted between two pages, each run that was there and matched throughout is seen
        exactly once, and none twice."""
        # Three runs share each microsecond, so pages end inside of such a group, too.
        steady = [_add_numbered(storage, number, BASE_US + 100 * (number // 3)) for number in range(18)]
        seen: list[str] = []
        after = None
        fresh = 20
        while True:
            page = storage.page(EVERY_FILTER[name], newest_first=newest_first, after=after, limit=2)
            assert len(page.runs) <= 2
            seen += ids(page.runs)
            if not page.has_more:
                break
            after = position(page.runs[-1])
            # One that was seen goes, and so does one at the far end; two come, on either side of the position.
            gone = [seen[0] if seen[0] in steady else seen[-1]]
            if len(steady) > 6:
                gone.append(steady[0 if newest_first else -1])
            storage.delete(gone)
            steady = [run_id for run_id in steady if run_id not in gone]
            if fresh < 38:
                _add_numbered(storage, fresh, after.created_at_us - 1)
                _add_numbered(storage, fresh + 1, after.created_at_us + 1)
                fresh += 2
        assert len(seen) == len(set(seen)), "a run was given twice"
        matching = [run_id for run_id in steady if name in ("none", "created", "updated") or int(run_id[-2:]) % 2 == 0]
        assert [run_id for run_id in matching if run_id not in seen] == []
        if name not in ("none", "created", "updated"):
            assert all(int(run_id[-2:]) % 2 == 0 for run_id in seen)

    def test_changes_do_not_move_a_run(self, storage: RunStorage) -> None:
        """Tags, heartbeats and a new status leave the order as it is."""
        for number in range(4):
            add(storage, f"r{number}", created_at_us=BASE_US + number)
        before = walk(storage)
        storage.add_tags("r0", [("a", "b")])
        storage.heartbeat("r1", 60)
        storage.project("r2", RunState(RunStatus.STARTED, started_at_us=1, state_seq=1))
        assert walk(storage) == before == ["r3", "r2", "r1", "r0"]

    def test_page_gives_the_parts_asked_for(self, storage: RunStorage) -> None:
        """A run of a page is the same as by id."""
        for number in range(3):
            _add_numbered(storage, number, BASE_US + number)
        for parts in (RunParts.NONE, RunParts.TAGS, RunParts.CONFIG, RunParts.ALL):
            runs = storage.page(NO_FILTER, parts=parts).runs
            for run in runs:
                full = storage.get([run.run_id])[run.run_id]
                assert run.tags == full.tags or RunParts.TAGS not in parts
                assert run.run_config == full.run_config or RunParts.CONFIG not in parts
                assert run._replace(tags=full.tags, run_config=full.run_config) == full
