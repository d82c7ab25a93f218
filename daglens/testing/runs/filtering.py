"""Subsets of runs: what each part of a filter means."""

from __future__ import annotations

from typing import Any

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.records import RunFilter, RunState, RunStatus, TagFilter
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.runs.topic import NO_FILTER, RunTopic, add, ids, walk

T0 = 1_700_000_000_000_000


def _fill(storage: RunStorage) -> None:
    """Five runs: a family of three (one of them a retry of a retry) and two others."""
    add(storage, "root", "etl", created_at_us=T0, tags=(("team", "core"), ("env", "prod")))
    add(
        storage,
        "child",
        "etl",
        created_at_us=T0 + 1,
        parent_run_id="root",
        root_run_id="root",
        tags=(("team", "core"),),
    )
    add(storage, "grandchild", "etl", created_at_us=T0 + 2, parent_run_id="child", root_run_id="root")
    add(storage, "other", "ml", created_at_us=T0 + 3, status=RunStatus.QUEUED, tags=(("env", "core"), ("team", "")))
    add(storage, "last", "report", created_at_us=T0 + 4, status=RunStatus.FAILURE, tags=(("env", "prod"), ("n", "1")))


def _check(storage: RunStorage, filter: RunFilter, expected: list[str]) -> None:
    """The filter gives these runs: in one page, in small pages, in both orders, and as a count."""
    assert ids(storage.page(filter, newest_first=False).runs) == expected
    assert walk(storage, filter, newest_first=False, limit=1) == expected
    assert walk(storage, filter, newest_first=True, limit=2) == expected[::-1]
    assert storage.count(filter, 100) == len(expected)


EVERYTHING = ["root", "child", "grandchild", "other", "last"]


class RunFiltering(RunTopic):
    """RunFilter, in `page` and `count`."""

    def test_no_condition_matches_every_run(self, storage: RunStorage) -> None:
        """A filter without conditions is no filter."""
        _fill(storage)
        _check(storage, NO_FILTER, EVERYTHING)

    @pytest.mark.parametrize("part", ["run_ids", "pipeline_names", "statuses", "tags"])
    def test_empty_list_matches_nothing(self, storage: RunStorage, part: str) -> None:
        """An empty list is a condition that no run fulfils; it doesn't mean "no filter"."""
        _fill(storage)
        empty: dict[str, Any] = {part: []}
        _check(storage, RunFilter(**empty), [])

    def test_run_ids_any_of(self, storage: RunStorage) -> None:
        """Any of the ids; unknown ones and repetitions don't matter, nor does a thousand of them."""
        _fill(storage)
        _check(storage, RunFilter(run_ids=["other", "root", "other", "nobody"]), ["root", "other"])
        _check(storage, RunFilter(run_ids=[*(f"x{n}" for n in range(999)), "last"]), ["last"])

    def test_pipeline_names_any_of(self, storage: RunStorage) -> None:
        """Any of the pipelines, by their whole name."""
        _fill(storage)
        _check(storage, RunFilter(pipeline_names=["ml", "report", "nothing"]), ["other", "last"])
        _check(storage, RunFilter(pipeline_names=["et", "ETL", "etl "]), [])

    def test_statuses_any_of(self, storage: RunStorage) -> None:
        """Any of the statuses."""
        _fill(storage)
        _check(storage, RunFilter(statuses=[RunStatus.QUEUED, RunStatus.FAILURE]), ["other", "last"])
        _check(storage, RunFilter(statuses=[RunStatus.SUCCESS]), [])

    def test_status_filter_follows_the_run(self, storage: RunStorage) -> None:
        """What a run was is no longer matched."""
        _fill(storage)
        storage.project("other", RunState(RunStatus.STARTED, started_at_us=1, state_seq=1))
        _check(storage, RunFilter(statuses=[RunStatus.STARTED]), ["other"])
        _check(storage, RunFilter(statuses=[RunStatus.QUEUED]), [])

    def test_tag_with_value(self, storage: RunStorage) -> None:
        """Key and value belong together: a value under another key doesn't match."""
        _fill(storage)
        _check(storage, RunFilter(tags=[TagFilter("team", "core")]), ["root", "child"])
        _check(storage, RunFilter(tags=[TagFilter("env", "core")]), ["other"])
        _check(storage, RunFilter(tags=[TagFilter("core", "team")]), [])

    def test_tag_key_alone(self, storage: RunStorage) -> None:
        """A tag without a value asks for the key, whatever its value; an empty value is a value."""
        _fill(storage)
        _check(storage, RunFilter(tags=[TagFilter("team")]), ["root", "child", "other"])
        _check(storage, RunFilter(tags=[TagFilter("team", "")]), ["other"])
        _check(storage, RunFilter(tags=[TagFilter("nothing")]), [])

    def test_every_tag_must_be_there(self, storage: RunStorage) -> None:
        """Several tags: the run has all of them."""
        _fill(storage)
        _check(storage, RunFilter(tags=[TagFilter("team", "core"), TagFilter("env", "prod")]), ["root"])
        _check(storage, RunFilter(tags=[TagFilter("env", "prod"), TagFilter("team")]), ["root"])
        _check(storage, RunFilter(tags=[TagFilter("env", "prod"), TagFilter("nothing")]), [])

    def test_two_values_for_one_key_match_nothing(self, storage: RunStorage) -> None:
        """A run has one value per key, so no run has both; the same tag twice is that tag."""
        _fill(storage)
        _check(storage, RunFilter(tags=[TagFilter("env", "prod"), TagFilter("env", "core")]), [])
        _check(storage, RunFilter(tags=[TagFilter("env", "prod"), TagFilter("env", "prod")]), ["root", "last"])
        _check(storage, RunFilter(tags=[TagFilter("env", "prod"), TagFilter("env")]), ["root", "last"])

    def test_tag_filter_follows_the_run(self, storage: RunStorage) -> None:
        """A replaced value is no longer matched, the new one is."""
        _fill(storage)
        storage.add_tags("last", [("n", "2")])
        _check(storage, RunFilter(tags=[TagFilter("n", "1")]), [])
        _check(storage, RunFilter(tags=[TagFilter("n", "2")]), ["last"])

    def test_created_between(self, storage: RunStorage) -> None:
        """`after` is inclusive, `before` exclusive, to the microsecond."""
        _fill(storage)
        _check(storage, RunFilter(created_after_us=T0 + 3), ["other", "last"])
        _check(storage, RunFilter(created_before_us=T0 + 2), ["root", "child"])
        _check(storage, RunFilter(created_after_us=T0 + 1, created_before_us=T0 + 3), ["child", "grandchild"])
        _check(storage, RunFilter(created_after_us=T0 + 1, created_before_us=T0 + 1), [])

    def test_updated_between(self, storage: RunStorage) -> None:
        """Likewise for the time of the last change."""
        _fill(storage)
        last = storage.get(["last"])["last"].updated_at_us
        assert "last" in walk(storage, RunFilter(updated_after_us=last))
        assert "last" not in walk(storage, RunFilter(updated_before_us=last))
        assert "last" in walk(storage, RunFilter(updated_before_us=last + 1))
        assert "last" not in walk(storage, RunFilter(updated_after_us=last + 1))
        _check(storage, RunFilter(updated_after_us=last + 10**15), [])

    def test_parent(self, storage: RunStorage) -> None:
        """Runs made from this one directly."""
        _fill(storage)
        _check(storage, RunFilter(parent_run_id="root"), ["child"])
        _check(storage, RunFilter(parent_run_id="nobody"), [])

    def test_root_includes_the_root_itself(self, storage: RunStorage) -> None:
        """The whole family: the root run and all that come from it."""
        _fill(storage)
        _check(storage, RunFilter(root_run_id="root"), ["root", "child", "grandchild"])
        _check(storage, RunFilter(root_run_id="other"), ["other"])
        _check(storage, RunFilter(root_run_id="nobody"), [])

    def test_all_parts_must_hold(self, storage: RunStorage) -> None:
        """Parts are joined by "and", also the family with the rest."""
        _fill(storage)
        _check(storage, RunFilter(root_run_id="root", tags=[TagFilter("team", "core")]), ["root", "child"])
        _check(storage, RunFilter(root_run_id="root", tags=[TagFilter("team")], parent_run_id="root"), ["child"])
        _check(storage, RunFilter(root_run_id="root", created_after_us=T0 + 1, pipeline_names=["ml"]), [])
        _check(storage, RunFilter(run_ids=["last", "other"], statuses=[RunStatus.QUEUED]), ["other"])

    def test_count_goes_no_further_than_asked(self, storage: RunStorage) -> None:
        """More than `up_to` is told as `up_to + 1`, exactly `up_to` as that."""
        _fill(storage)
        assert [storage.count(NO_FILTER, up_to) for up_to in (0, 3, 4, 5, 6)] == [1, 4, 5, 5, 5]
        assert storage.count(RunFilter(pipeline_names=["etl"]), 2) == 3

    @pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=ascii)
    def test_impossible_names_match_nothing(self, storage: RunStorage, name: str) -> None:
        """A filter for what no run can have finds nothing, without an error."""
        _fill(storage)
        for filter in (
            RunFilter(run_ids=[name]),
            RunFilter(pipeline_names=[name]),
            RunFilter(parent_run_id=name),
            RunFilter(root_run_id=name),
            RunFilter(tags=[TagFilter(name)]),
            RunFilter(tags=[TagFilter(name, "core")]),
            RunFilter(tags=[TagFilter("env", f"\0{name}")]),
        ):
            _check(storage, filter, [])
