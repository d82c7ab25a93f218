"""What the topics of the run storage suite have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.records import NewRun, RunFilter, RunPosition, RunRecord

NO_FILTER = RunFilter()


class RunTopic:
    """Base of the topics. A subclass gives the fixture `storage`."""

    @pytest.fixture
    def storage(self) -> RunStorage:
        """An empty storage, for one test."""
        raise NotImplementedError("Override the fixture `storage`: it gives a new, empty run storage.")

    @pytest.fixture
    def second(self, storage: RunStorage) -> RunStorage:
        """Another instance on the same data, as another process has; override it where there can be one."""
        return storage


def add(storage: RunStorage, run_id: str, pipeline_name: str = "nightly", **fields: Any) -> RunRecord:
    """Add a run that isn't there yet."""
    added = storage.add(NewRun(run_id, pipeline_name, **fields))
    assert added.created
    return added.run


def ids(runs: Iterable[RunRecord]) -> list[str]:
    """Ids of runs, in their order."""
    return [run.run_id for run in runs]


def position(run: RunRecord) -> RunPosition:
    """The place of a run in a list."""
    return RunPosition(run.created_at_us, run.run_id)


def walk(storage: RunStorage, filter: RunFilter = NO_FILTER, *, newest_first: bool = True, limit: int = 3) -> list[str]:
    """Ids of every page, from the first to the one that says there are no more."""
    found: list[str] = []
    after = None
    while True:
        page = storage.page(filter, newest_first=newest_first, after=after, limit=limit)
        assert len(page.runs) <= limit, "a page holds at most `limit` runs"
        found += ids(page.runs)
        if not page.has_more:
            return found
        assert page.runs, "a page that says there are more is not empty"
        after = position(page.runs[-1])
