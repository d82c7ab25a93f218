"""Whatever index leads, a filtered list of the SQLite storage is that of the in-memory storage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daglens.storage.memory import InMemoryRunStorage
from daglens.storage.records import NewRun, RunFilter, RunPosition, RunState, RunStatus, TagFilter
from daglens.storage.sql import run_filters
from daglens.storage.sqlite import SqliteDatabase, SqliteRunStorage
from daglens.testing import Clock

RUNS = 400
PIPELINES = ["nightly", "hourly", "rare", "with 'quote'", "Nightly"]
KEYS = ["team", "owner", "rare", "everywhere"]
VALUES = ["core", "Core", "", "c_re", "100 %"]
START_US = 1_800_000_000_000_000


class Both:
    """The same runs in both storages."""

    def __init__(self, sqlite: SqliteRunStorage, memory: InMemoryRunStorage) -> None:
        self.sqlite = sqlite
        self.memory = memory


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    database = SqliteDatabase(tmp_path_factory.mktemp("filters") / "daglens.db", durability="normal")
    clock = Clock(START_US)
    made = Both(SqliteRunStorage(database, clock=clock), InMemoryRunStorage(clock=clock))
    dice = random.Random(7)
    for number in range(RUNS):
        # Several are created at one moment, and updated at another.
        clock.advance_days(dice.choice([0, 0, 1e-10, 1e-9]))
        tags = {
            key: dice.choice(VALUES) for key in KEYS if dice.random() < {"rare": 0.01, "everywhere": 1}.get(key, 0.5)
        }
        run = NewRun(
            f"run {dice.randrange(10**9)}",
            dice.choices(PIPELINES, [10, 10, 0.1, 5, 5])[0],
            status=dice.choice(list(RunStatus)),
            tags=tuple(tags.items()),
            parent_run_id=dice.choice([None, "run 1", "run 2"]),
            root_run_id=dice.choice([None, "root", "other root"]),
            created_at_us=dice.choice([None, START_US - dice.randrange(1000)]),
        )
        if number == 5:
            run = NewRun("root", "nightly", created_at_us=START_US - 500, root_run_id=None)
        for storage in (made.sqlite, made.memory):
            storage.add(run)
            if number % 3 == 0:
                storage.project(run.run_id, RunState(RunStatus.CANCELED, 1, 2, False, 1))
    yield made
    database.close()


times = st.integers(START_US - 1100, START_US + 100) | st.sampled_from([-(2**80), 2**80])
CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "run_ids": st.lists(st.sampled_from(["root", "nobody", "run 1", "\ud800"]), max_size=3),
    "pipeline_names": st.lists(st.sampled_from([*PIPELINES, "none"]), max_size=6),
    "statuses": st.lists(st.sampled_from(RunStatus), max_size=8),
    "tags": st.lists(
        st.builds(TagFilter, st.sampled_from([*KEYS, "none"]), st.none() | st.sampled_from(VALUES)), max_size=3
    ),
    "created_after_us": times,
    "created_before_us": times,
    "updated_after_us": times,
    "updated_before_us": times,
    "parent_run_id": st.sampled_from(["run 1", "none"]),
    "root_run_id": st.sampled_from(["root", "other root", "none"]),
}
# Few at a time, so that most filters match something.
filters = (
    st.sets(st.sampled_from(sorted(CONDITIONS)), max_size=3)
    .flatmap(lambda names: st.fixed_dictionaries({name: CONDITIONS[name] for name in sorted(names)}))
    .map(lambda conditions: RunFilter(**conditions))
)


@pytest.mark.parametrize("probe_limit", [0, 20, 500])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filter=filters, newest_first=st.booleans(), limit=st.integers(1, 50))
def test_filtered_list_is_that_of_memory(
    both: Both, probe_limit: int, filter: RunFilter, newest_first: bool, limit: int
) -> None:
    """Every page of it, in both directions, and its count; whichever conditions count as rare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_filters, "PROBE_LIMIT", probe_limit)
        after: RunPosition | None = None
        while True:
            expected = both.memory.page(filter, newest_first=newest_first, after=after, limit=limit)
            found = both.sqlite.page(filter, newest_first=newest_first, after=after, limit=limit)
            assert list(found.runs) == list(expected.runs)
            assert found.has_more is expected.has_more
            if not found.has_more:
                break
            after = RunPosition(found.runs[-1].created_at_us, found.runs[-1].run_id)
        for up_to in (0, 7, RUNS):
            assert both.sqlite.count(filter, up_to) == both.memory.count(filter, up_to)


@pytest.mark.parametrize("many", [16, 17, 300])
def test_many_values_of_one_condition(both: Both, many: int) -> None:
    """A long list of pipelines is a filter like a short one."""
    filter = RunFilter(pipeline_names=[*(f"none {n}" for n in range(many - 2)), "rare", "hourly"])
    assert list(both.sqlite.page(filter, limit=1000).runs) == list(both.memory.page(filter, limit=1000).runs)
    assert both.sqlite.count(filter, RUNS) == both.memory.count(filter, RUNS)


@pytest.mark.parametrize("prefix", ["", "c", "C", "c_", "1", "%", "100 %", "\ud7ff", "\U0010ffff", "\ud800", "zz"])
def test_completions_are_those_of_memory(both: Both, prefix: str) -> None:
    """A prefix is taken literally, case and wildcards included."""
    for limit in (0, 1, 25):
        assert list(both.sqlite.tag_keys(prefix, limit)) == list(both.memory.tag_keys(prefix, limit))
        assert list(both.sqlite.pipeline_names(prefix, limit)) == list(both.memory.pipeline_names(prefix, limit))
        for key in KEYS:
            assert list(both.sqlite.tag_values(key, prefix, limit)) == list(both.memory.tag_values(key, prefix, limit))
