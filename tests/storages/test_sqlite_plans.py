"""Each list query walks one index from where the page begins: nothing is read whole, nothing is sorted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daglens.storage.records import (
    EventFilter,
    EventQuery,
    EventsOrder,
    RunFilter,
    RunParts,
    RunPosition,
    RunStatus,
    TagFilter,
)
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from tests.storages.sqlite_plans import faults, indexes, plan, statements_of

RUNS = 20_000
EVENTS = 20_000
STATUSES = tuple(status.value for status in RunStatus)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    """20,000 runs with ten tags each, and a log of 20,000 events."""
    made = SqliteDatabase(tmp_path_factory.mktemp("plans") / "daglens.db", durability="normal")
    made.write(_fill)
    yield made
    made.close()


def _fill(connection: Any) -> None:
    runs = [f"run-{n:06d}" for n in range(RUNS)]
    columns = (
        "run_id, pipeline_name, status, parent_run_id, root_run_id, created_at_us, updated_at_us, presumed, "
        "projected_seq, change_number, created_with, run_config"
    )
    connection.executemany(
        f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?, 'x', '{{}}')",
        [
            # Ten runs are created in each microsecond, so that pages begin and end among equals.
            (
                run,
                f"pipeline {n % 40}",
                STATUSES[n % 8],
                runs[n // 2],
                runs[n // 100 * 100],
                n // 10,
                n // 10 + 5,
                n + 1,
            )
            for n, run in enumerate(runs)
        ],
    )
    connection.executemany(
        "INSERT INTO run_tags (run_id, key, value, created_at_us) VALUES (?, ?, ?, ?)",
        [(run, f"key {k}", f"value {n % (k * k * k + 1)}", n // 10) for n, run in enumerate(runs) for k in range(10)],
    )
    connection.execute("INSERT INTO run_tags VALUES ('run-000007', 'rare', 'one', 0)")
    connection.execute("UPDATE run_feed SET last_change = ?", (RUNS,))
    connection.execute(
        f"INSERT INTO event_heads VALUES (1, 'run-000000', 'abc', {EVENTS}, {'NULL, ' * 3}{'0, ' * 10}NULL)",
    )
    connection.executemany(
        "INSERT INTO events VALUES (1, ?, ?, ?, ?, ?, 0, 'message', '{}')",
        [(n, f"id {n}", f"TYPE_{n % 5}", f"step {n % 7}", n % 5 * 10 + 10) for n in range(1, EVENTS + 1)],
    )
    connection.executemany(
        "INSERT INTO event_steps VALUES (1, ?, ?, 'SUCCESS', '[]', 0, 0)",
        [(f"step {n}", n) for n in range(1, 2001)],
    )


@pytest.fixture
def runs(database: SqliteDatabase) -> SqliteRunStorage:
    return SqliteRunStorage(database)


@pytest.fixture
def events(database: SqliteDatabase) -> SqliteEventLogStorage:
    return SqliteEventLogStorage(database)


def checked(database: SqliteDatabase, work: Callable[[], object]) -> list[list[str]]:
    """Run it; the indexes that each of its statements uses. None of them reads or sorts a whole table."""
    used = []
    for statement in statements_of(database, work):
        lines = database.read(lambda connection, text=statement: plan(connection, text))  # type: ignore[misc]
        assert faults(lines) == [], (statement, lines)
        used.append(indexes(lines))
    return used


MIDDLE = RunPosition(1000, "run-010005")

# The filter, and the index that its page walks.
LISTS = {
    "all": (RunFilter(), "ix_runs_created"),
    "created": (RunFilter(created_after_us=500, created_before_us=1500), "ix_runs_created"),
    "status": (RunFilter(statuses=[RunStatus.FAILURE]), "ix_runs_status"),
    "unfinished": (RunFilter(statuses=[s for s in RunStatus if not s.is_final]), "ix_runs_status"),
    "pipeline": (RunFilter(pipeline_names=["pipeline 7"]), "ix_runs_pipeline"),
    "pipelines": (RunFilter(pipeline_names=["pipeline 7", "pipeline 8"]), "ix_runs_pipeline"),
    "parent": (RunFilter(parent_run_id="run-000010"), "ix_runs_parent"),
    "root": (RunFilter(root_run_id="run-000100"), "ix_runs_root"),
    "tag": (RunFilter(tags=[TagFilter("key 3", "value 5")]), "ix_run_tags_value"),
    "tag key": (RunFilter(tags=[TagFilter("key 3")]), "ix_run_tags_key"),
    "two tags": (RunFilter(tags=[TagFilter("key 1", "value 1"), TagFilter("key 9", "value 5")]), "ix_run_tags_value"),
    "tag and status": (
        RunFilter(tags=[TagFilter("key 9", "value 5")], statuses=[RunStatus.SUCCESS]),
        "ix_run_tags_value",
    ),
    "status and common tag": (
        RunFilter(tags=[TagFilter("key 0", "value 0")], pipeline_names=["pipeline 3"]),
        "ix_runs_pipeline",
    ),
    "rare tag of a common status": (
        RunFilter(tags=[TagFilter("rare")], statuses=list(RunStatus)),
        "ix_run_tags_key",
    ),
    "updated long ago": (RunFilter(updated_before_us=100), "ix_runs_created"),
    "nearly all updated since": (RunFilter(updated_after_us=100), "ix_runs_created"),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("after", [None, MIDDLE])
def test_list(
    database: SqliteDatabase, runs: SqliteRunStorage, name: str, newest_first: bool, after: RunPosition | None
) -> None:
    """The walk is along the index that fits the filter, from where the page begins, in either direction."""
    filter, index = LISTS[name]
    if after is not None and name == "updated long ago":
        # Nothing is left beyond this position.
        after = RunPosition(50, "run-000500")
    used = checked(database, lambda: runs.page(filter, newest_first=newest_first, after=after, limit=25))
    leads = [names[0] for names in used if names]
    assert index in leads, used


@pytest.mark.parametrize("name", LISTS)
def test_count(database: SqliteDatabase, runs: SqliteRunStorage, name: str) -> None:
    """Counting walks the same indexes."""
    checked(database, lambda: runs.count(LISTS[name][0], up_to=1000))


def test_recently_updated(database: SqliteDatabase, runs: SqliteRunStorage) -> None:
    """Few runs were updated since: they are gathered by that index and sorted, and no other run is read."""
    filter = RunFilter(updated_after_us=RUNS // 10)
    statements = statements_of(database, lambda: runs.page(filter, limit=25, parts=RunParts.NONE))
    lines = database.read(lambda connection: plan(connection, statements[-1]))
    assert indexes(lines) == ["ix_runs_updated"]
    assert len(runs.page(filter, limit=100).runs) == 50


def test_runs_by_id(database: SqliteDatabase, runs: SqliteRunStorage) -> None:
    """Ids are looked up, and nothing but them is sorted, also beside another condition."""
    ids = [f"run-{n:06d}" for n in range(0, 2000, 2)]
    assert len(runs.get(ids)) == 1000
    assert checked(database, lambda: runs.get(ids)) == [["PRIMARY KEY"]]
    for filter in (RunFilter(run_ids=ids), RunFilter(run_ids=ids, statuses=[RunStatus.SUCCESS])):
        statements = statements_of(database, lambda filter=filter: runs.page(filter, parts=RunParts.NONE))  # type: ignore[misc]
        lines = database.read(lambda connection, text=statements[-1]: plan(connection, text))  # type: ignore[misc]
        assert indexes(lines) == ["PRIMARY KEY"]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda runs: runs.tag_keys("key", 25), "ix_run_tags_"),
        (lambda runs: runs.tag_values("key 9", "value 1", 25), "ix_run_tags_value"),
        (lambda runs: runs.pipeline_names("", 25), "ix_runs_pipeline"),
    ],
    ids=["keys", "values", "pipelines"],
)
def test_texts_in_use(
    database: SqliteDatabase, runs: SqliteRunStorage, ask: Callable[[SqliteRunStorage], object], index: str
) -> None:
    """Completions jump along an index; each text costs one look-up, so few pages of the file are read."""
    (used,) = checked(database, lambda: ask(runs))
    assert all(name.startswith(index) for name in used)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def counted(connection: Any) -> None:
        (statement,) = statements
        connection.set_progress_handler(count, 100)
        try:
            assert len(connection.execute(statement).fetchall()) > 5
        finally:
            connection.set_progress_handler(None, 0)

    statements = statements_of(database, lambda: ask(runs))
    database.read(counted)
    assert steps * 100 < RUNS / 4, "as many instructions as there are runs: every tag was read"


def test_changes(database: SqliteDatabase, runs: SqliteRunStorage) -> None:
    """The feed is read from its position on."""
    position = runs.changes(None, 1).position
    identity = position.partition("-")[0]
    used = checked(database, lambda: runs.changes(f"{identity}-100", 25))
    assert used[1] == ["ix_runs_change", "ix_deleted_runs_change"]


QUERIES = [
    EventQuery("run-000000", after_seq=100, limit=1000),
    EventQuery("run-000000", after_seq=9000, limit=1000, order=EventsOrder.NEWEST_FIRST),
    EventQuery("run-000000", limit=50, filter=EventFilter(event_types=["TYPE_3"], min_level=20)),
    EventQuery(
        "run-000000", limit=50, filter=EventFilter(step_keys=["step 1", "step 2"]), order=EventsOrder.NEWEST_FIRST
    ),
]


@pytest.mark.parametrize("count", [1, 4])
def test_events(database: SqliteDatabase, events: SqliteEventLogStorage, count: int) -> None:
    """Events are a range of the table's own key."""
    used = checked(database, lambda: events.read(QUERIES[:count]))
    assert used[0] == ["ix_event_heads_run"]
    assert all(names == ["PRIMARY KEY"] for names in used[1:])


def test_heads_and_steps(database: SqliteDatabase, events: SqliteEventLogStorage) -> None:
    """Heads are looked up by run; steps are the run's own, as many as asked for."""
    ids = [f"run-{n:06d}" for n in range(100)]
    assert checked(database, lambda: events.heads(ids)) == [["ix_event_heads_run"]]
    (used,) = checked(database, lambda: events.steps(ids, limit=10))
    assert used == ["ix_event_heads_run", "ix_event_steps_first"]
    (used,) = checked(database, lambda: events.steps(ids, ["step 1", "step 2"]))
    assert used == ["ix_event_heads_run", "PRIMARY KEY"]


def test_known_event_ids_are_looked_up(database: SqliteDatabase) -> None:
    """The check for duplicates costs a look-up per id given."""
    from daglens.storage.sqlite.append import _KNOWN_IDS

    lines = database.read(
        lambda connection: [
            line for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {_KNOWN_IDS}", (json.dumps(["id 1"]), 1))
        ]
    )
    assert faults(lines) == []
    assert indexes(lines) == ["ix_events_event_id"]
