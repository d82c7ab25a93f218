"""Each list query walks one index from where the page begins, on 100,000 runs with ten tags each and 1,000,000 events.

One test, as filling the tables takes most of its time: the same questions before the tables were ever analysed, as on
the day after a large import, and afterwards. What it holds to is the number of rows that are looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daglens.storage.postgres import PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.postgres.append import READ_LOG
from daglens.storage.postgres.texts import text_array
from daglens.storage.records import (
    EventFilter,
    EventQuery,
    EventsOrder,
    RunFilter,
    RunPosition,
    RunStatus,
    TagFilter,
)
from daglens.storage.sql.run_filters import PROBE_LIMIT
from tests.storages.postgres_plans import RUNS, TAGS, Plan, fill, plans_of
from tests.storages.postgres_server import PostgresServer, config_for, drop

LIMIT = 25
MIDDLE = RunPosition(RUNS // 20, f"run-{RUNS // 2 + 5:06d}")
MANY_IDS = [f"run-{n:06d}" for n in range(0, RUNS, RUNS // 1000)]
UNFINISHED = [status for status in RunStatus if not status.is_final]

# The filter, and the index that its page walks.
LISTS = {
    "all": (RunFilter(), "ix_runs_created"),
    "created": (RunFilter(created_after_us=500, created_before_us=7500), "ix_runs_created"),
    "status": (RunFilter(statuses=[RunStatus.FAILURE]), "ix_runs_status"),
    "unfinished": (RunFilter(statuses=UNFINISHED), "ix_runs_status"),
    "pipeline": (RunFilter(pipeline_names=["pipeline 7"]), "ix_runs_pipeline"),
    "pipelines": (RunFilter(pipeline_names=["pipeline 7", "pipeline 8"]), "ix_runs_pipeline"),
    "parent": (RunFilter(parent_run_id="run-000010"), "ix_runs_parent"),
    "root": (RunFilter(root_run_id="run-000100"), "ix_runs_root"),
    "tag": (RunFilter(tags=[TagFilter("key 3", "value 5")]), "ix_run_tags_value"),
    "tag key": (RunFilter(tags=[TagFilter("key 3")]), "ix_run_tags_key"),
    "common tag": (RunFilter(tags=[TagFilter("key 0", "value 0")]), "ix_run_tags_value"),
    "two tags": (RunFilter(tags=[TagFilter("key 1", "value 1"), TagFilter("key 9", "value 5")]), "ix_run_tags_value"),
    "two common tags": (
        RunFilter(tags=[TagFilter("key 0", "value 0"), TagFilter("key 1", "value 1")]),
        "ix_run_tags_value",
    ),
    "ten tags": (RunFilter(tags=[TagFilter(f"key {k}") for k in range(TAGS)]), "ix_run_tags_key"),
    "tag and status": (
        RunFilter(tags=[TagFilter("key 9", "value 5")], statuses=[RunStatus.SUCCESS]),
        "ix_run_tags_value",
    ),
    "common tag and pipeline": (
        RunFilter(tags=[TagFilter("key 0", "value 0")], pipeline_names=["pipeline 3"]),
        "ix_runs_pipeline",
    ),
    "rare tag of a common status": (RunFilter(tags=[TagFilter("rare")], statuses=list(RunStatus)), "ix_run_tags_key"),
    "ids": (RunFilter(run_ids=MANY_IDS), "runs_pkey"),
    "ids of a status": (RunFilter(run_ids=MANY_IDS, statuses=[RunStatus.SUCCESS]), "runs_pkey"),
    "updated long ago": (RunFilter(updated_before_us=100), "ix_runs_created"),
    "few updated since": (RunFilter(updated_after_us=RUNS // 10 - 10), "ix_runs_updated"),
    "nearly all updated since": (RunFilter(updated_after_us=20), "ix_runs_created"),
    "everything": (
        RunFilter(
            tags=[TagFilter("key 0", "value 0")],
            pipeline_names=["pipeline 3"],
            statuses=list(RunStatus),
            created_after_us=10,
            updated_after_us=10,
        ),
        "ix_runs_pipeline",
    ),
}

LOGS = [f"run-{n:06d}" for n in range(0, 1000, 10)]
SOME = EventFilter(event_types=["TYPE_3"], step_keys=["step 1"], min_level=20)


@dataclass(frozen=True)
class Question:
    """A call, the indexes that its last statement may use beside primary keys, and the rows that it may look at."""

    ask: Callable[[PostgresRunStorage, PostgresEventLogStorage], object]
    indexes: frozenset[str]
    rows: int


def questions() -> dict[str, Question]:
    """All of them, by name."""
    asked = {}
    # A page: its runs and one more, each found in an index of runs or tags, looked up, and read with its tags.
    page_rows = (LIMIT + 1) * (4 + TAGS)
    for name, (filter, index) in LISTS.items():
        gathered = len(MANY_IDS) if filter.run_ids else PROBE_LIMIT if index == "ix_runs_updated" else 0
        # Conditions that don't lead are looked at run by run: one in forty is of a pipeline, one in eight of a status.
        passed_over = 8 * LIMIT if filter.statuses or filter.tags or filter.updated_after_us else 0
        for newest_first in (True, False):
            for after in (None, MIDDLE):
                place = f"{'newest' if newest_first else 'oldest'} first{', from the middle' if after else ''}"
                asked[f"{name}, {place}"] = Question(
                    lambda runs, events, f=filter, n=newest_first, a=after: runs.page(  # type: ignore[misc]
                        f, newest_first=n, after=a, limit=LIMIT
                    ),
                    frozenset({index}),
                    page_rows + gathered + passed_over,
                )
        asked[f"count of {name}"] = Question(
            lambda runs, events, f=filter: runs.count(f, 100),  # type: ignore[misc]
            frozenset({index}),
            102 * TAGS + gathered + passed_over,
        )
    texts = {
        "tag keys": Question(lambda runs, events: runs.tag_keys("key", 25), frozenset({"ix_run_tags_key"}), 100),
        "tag values": Question(
            lambda runs, events: runs.tag_values("key 9", "value 70", 25), frozenset({"ix_run_tags_value"}), 100
        ),
        "pipeline names": Question(
            lambda runs, events: runs.pipeline_names("", 25), frozenset({"ix_runs_pipeline"}), 100
        ),
    }
    several = {
        "get": Question(lambda runs, events: runs.get(MANY_IDS), frozenset(), 1000 * (1 + TAGS)),
        "changes": Question(
            lambda runs, events: runs.changes(f"{_identity(runs)}-{RUNS // 2}", 100),
            frozenset({"ix_runs_change", "ix_deleted_runs_change"}),
            110,
        ),
        "heads": Question(lambda runs, events: events.heads(LOGS), frozenset({"ix_event_heads_run"}), 1000),
        "steps": Question(
            lambda runs, events: events.steps(LOGS, limit=5),
            frozenset({"ix_event_heads_run", "ix_event_steps_first"}),
            1000 + 5 * len(LOGS),
        ),
        "some steps": Question(
            lambda runs, events: events.steps(LOGS, ["step 3", "step 9"]),
            frozenset({"ix_event_heads_run"}),
            1000 + 2 * len(LOGS),
        ),
    }
    return asked | texts | several | _event_questions() | {"ids of a retry": _retry()}


def _retry() -> Question:
    """Which of a hundred event ids, and of two steps, a log has already: what an append reads under its lock."""
    values = {
        "run": LOGS[3],
        "ids": text_array([f"id {n}" for n in range(950, 1050)]),
        "keys": text_array(["step 3", "step 9"]),
    }
    return Question(
        lambda runs, events: runs.database.read(READ_LOG, values),
        frozenset({"ix_event_heads_run", "ix_events_event_id"}),
        110,
    )


def _event_questions() -> dict[str, Question]:
    asked = {}
    head = frozenset({"ix_event_heads_run"})
    for order in EventsOrder:
        for after in (None, 500):
            name = f"{order.value}, {'from one end' if after is None else 'from the middle'}"
            asked[f"events, {name}"] = Question(
                lambda runs, events, o=order, a=after: events.read([EventQuery(LOGS[3], a, 100, None, o)]),  # type: ignore[misc]
                head,
                101,
            )
            asked[f"some events, {name}"] = Question(
                lambda runs, events, o=order, a=after: events.read([EventQuery(LOGS[3], a, 10, SOME, o)]),  # type: ignore[misc]
                head,
                # One in 35 is wanted.
                10 * 36 + 1,
            )
        asked[f"events of many runs, {order.value}"] = Question(
            lambda runs, events, o=order: events.read([EventQuery(run, None, 10, None, o) for run in LOGS]),  # type: ignore[misc]
            head,
            1000 + 10 * len(LOGS),
        )
    return asked


def _identity(runs: PostgresRunStorage) -> str:
    return str(runs.database.read("SELECT identity FROM {s}.run_feed", {})[0][0])


def faults(question: Question, plans: list[Plan]) -> list[str]:
    """What is wrong with how a call was answered."""
    told = []
    *probes, last = plans
    for probe in probes:
        if probe.touched > TAGS * (PROBE_LIMIT + 1):
            told.append(f"counting what leads looks at {probe.touched} rows")
    unexpected = [name for name in last.indexes if not name.endswith("_pkey") and name not in question.indexes]
    # Of the tables that a test can't make large, the whole may be read.
    whole = [name for plan in plans for name in plan.whole_tables if name not in ("event_heads", "event_steps")]
    if unexpected:
        told.append(f"uses {unexpected}")
    if whole:
        told.append(f"reads {whole} from end to end")
    if last.touched > question.rows:
        told.append(f"looks at {last.touched} rows, not {question.rows}")
    return told


def test_lists_walk_along_an_index(postgres: PostgresServer) -> None:
    """Whatever the planner knows of the tables: the same few rows."""
    fill(postgres, "plans")
    database = PostgresDatabase(config_for(postgres.url, "plans"))
    runs, events = PostgresRunStorage(database), PostgresEventLogStorage(database)
    found = {}
    try:
        runs.now_us()
        for state in ("never analysed", "analysed"):
            for name, question in questions().items():
                plans = plans_of(database, postgres.url, lambda question=question: question.ask(runs, events))  # type: ignore[misc]
                if wrong := faults(question, plans):
                    found[f"{state}: {name}"] = (*wrong, plans[-1].indexes)
            for table in ("runs", "run_tags", "events", "event_heads", "event_steps"):
                postgres.execute(f"ANALYZE plans.{table}")
    finally:
        database.close()
        drop(postgres, ["plans"])
    assert found == {}
