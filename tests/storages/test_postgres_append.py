"""Appends to a Postgres log that overlap, and what one append costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from daglens.storage.errors import RunDeleted
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.records import EventDraft, EventQuery, EventsOrder, NewRun, RunFilter, RunStatus
from daglens.testing.threads import DEADLINE_S
from tests.storages.postgres_server import PostgresServer
from tests.storages.postgres_waiting import commits_held, until, waiting

T = TypeVar("T")


@pytest.fixture
def database(postgres_config: PostgresConfig) -> Iterator[PostgresDatabase]:
    made = PostgresDatabase(postgres_config)
    yield made
    made.close()


@pytest.fixture
def events(database: PostgresDatabase) -> PostgresEventLogStorage:
    return PostgresEventLogStorage(database)


@pytest.fixture
def runs(database: PostgresDatabase) -> PostgresRunStorage:
    return PostgresRunStorage(database)


class Started(threading.Thread):
    """A call in a thread of its own; `result` waits for it."""

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What the call gave, or what it raised."""
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the call has not returned"
        if self._error is not None:
            raise self._error
        return self._result


def plain(*numbers: int) -> list[EventDraft]:
    return [EventDraft("LOG_MESSAGE", message=str(n), event_id=f"id {n}") for n in numbers]


def steps(*numbers: int) -> list[EventDraft]:
    return [EventDraft("STEP_OUTPUT", step_key="s", message=str(n), event_id=f"id {n}") for n in numbers]


def counted(step: str, *numbers: int) -> list[EventDraft]:
    """Each of a materialization, an expectation that holds and one that doesn't."""
    return [
        EventDraft(kind, step_key=step, event_id=f"{kind} {success} {n}", data={"success": success})
        for n in numbers
        for kind, success in (
            ("STEP_MATERIALIZATION", True),
            ("STEP_EXPECTATION_RESULT", True),
            ("STEP_EXPECTATION_RESULT", False),
        )
    ]


def messages(events: PostgresEventLogStorage, run_id: str = "r1") -> list[tuple[int, str]]:
    (page,) = events.read([EventQuery(run_id, limit=1000)])
    return [(event.seq, event.message) for event in page.events]


# ---------------------------------------------------------------- overlapping


@pytest.mark.parametrize("retry", [plain, steps])
@pytest.mark.parametrize("first", [plain, steps])
def test_retry_while_the_first_try_is_uncommitted(
    postgres: PostgresServer,
    postgres_schema: str,
    events: PostgresEventLogStorage,
    first: Callable[..., list[EventDraft]],
    retry: Callable[..., list[EventDraft]],
) -> None:
    """It waits, then finds its events there: each is stored once, what is new follows, and no seq is left out."""
    events.append("r1", [EventDraft("LOG_MESSAGE", message="before")])
    with commits_held(postgres, f"{postgres_schema}.events"):
        one = Started(lambda: events.append("r1", first(1, 2, 3)))
        until(lambda: waiting(postgres) == 1, "the first try stands in its commit")
        two = Started(lambda: events.append("r1", retry(2, 3, 4)))
        until(lambda: waiting(postgres) == 2, "the second waits for the first")
        assert messages(events) == [(1, "before")]
    assert (one.result().accepted, one.result().duplicates) == (3, 0)
    assert (two.result().accepted, two.result().duplicates) == (1, 2)
    assert (two.result().first_seq, two.result().last_seq) == (5, 5)
    assert messages(events) == [(1, "before"), (2, "1"), (3, "2"), (4, "3"), (5, "4")]
    assert events.heads(["r1"])["r1"].last_seq == 5


@pytest.mark.parametrize("is_known", [True, False], ids=["step is known", "step is being made"])
def test_counts_of_overlapping_batches_add_up(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage, is_known: bool
) -> None:
    """Two that count in one step, one of them while the other stands in its commit: nothing is counted over."""
    events.append("r1", steps(0) if is_known else [])
    with commits_held(postgres, f"{postgres_schema}.events"):
        one = Started(lambda: events.append("r1", counted("s", 1, 2)))
        until(lambda: waiting(postgres) == 1, "the first stands in its commit")
        two = Started(lambda: events.append("r1", counted("s", 3)))
        until(lambda: waiting(postgres) == 2, "the second waits for the first")
    one.result()
    two.result()
    (step,) = events.steps(["r1"])["r1"]
    assert (step.materializations, step.expectations) == (3, 6)
    counts = events.heads(["r1"])["r1"].counts
    assert (counts.materializations, counts.expectations, counts.expectations_failed) == (3, 6, 3)
    assert counts.steps_in_progress == 1
    (page,) = events.read([EventQuery("r1", limit=1000)])
    assert [event.seq for event in page.events] == list(range(1, 10 + is_known))


def test_first_events_of_a_run_at_once(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage
) -> None:
    """Two writers that both find no log yet: one makes it, the other waits and goes on in it."""
    with commits_held(postgres, f"{postgres_schema}.event_heads"):
        one = Started(lambda: events.append("r1", plain(1)))
        until(lambda: waiting(postgres) == 1, "the first stands in its commit")
        two = Started(lambda: events.append("r1", plain(2)))
        until(lambda: waiting(postgres) == 2, "the second waits for the first")
    assert {one.result().head.incarnation, two.result().head.incarnation} == {events.heads(["r1"])["r1"].incarnation}
    assert messages(events) == [(1, "1"), (2, "2")]


def test_append_that_waits_for_a_closing(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage
) -> None:
    """Its run is closed while it waits: RunDeleted, and nothing is stored."""
    events.append("r1", plain(1))
    with commits_held(postgres, f"{postgres_schema}.event_heads", "UPDATE"):
        closing = Started(lambda: events.close_runs(["r1"]))
        until(lambda: waiting(postgres) == 1, "the closing stands in its commit")
        late = [Started(lambda: events.append("r1", plain(2))), Started(lambda: events.append("r1", steps(3)))]
        until(lambda: waiting(postgres) == 3, "the appends wait for it")
    closing.result()
    for append in late:
        with pytest.raises(RunDeleted):
            append.result()
    assert messages(events) == [(1, "1")]


def test_change_that_commits_late_is_in_the_feed(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage, runs: PostgresRunStorage
) -> None:
    """A status changed in a transaction that commits late, with reads in between and another change behind it."""
    for run_id in ("late", "other", "third"):
        runs.add(NewRun(run_id, "nightly"))
    with commits_held(postgres, f"{postgres_schema}.runs", "UPDATE"):
        late = Started(lambda: events.append("late", [EventDraft("RUN_START")]))
        until(lambda: waiting(postgres) == 1, "the change stands in its commit")
        position = runs.changes(None, 10).position
        assert runs.get(["late"])["late"].status is RunStatus.NOT_STARTED
        other = Started(lambda: runs.add_tags("other", [("a", "1")]))
        until(lambda: waiting(postgres) == 2, "the other change comes behind it")
        assert list(runs.changes(position, 10).changed) == []
    assert late.result().projected
    other.result()
    assert list(runs.changes(position, 10).changed) == ["late", "other"]


def test_heartbeats_and_reads_wait_for_nobody(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage, runs: PostgresRunStorage
) -> None:
    """While a change stands in its commit, other runs' heartbeats, appends and every read go through."""
    for run_id in ("late", "other"):
        runs.add(NewRun(run_id, "nightly"))
        events.append(run_id, plain(1))
    with commits_held(postgres, f"{postgres_schema}.runs", "UPDATE"):
        late = Started(lambda: runs.add_tags("late", [("a", "1")]))
        until(lambda: waiting(postgres) == 1, "the change stands in its commit")
        assert events.append("late", plain(2)).accepted == 1
        assert events.append("other", steps(2)).accepted == 1
        assert len(runs.page(RunFilter()).runs) == 2
    late.result()


# ---------------------------------------------------------------- what it costs


def messages_of(database: PostgresDatabase, work: Callable[[], object]) -> list[str]:
    """What `work` sends, the notices of news left out: they are the notifier's."""
    seen: list[str] = []
    database.on_message = lambda sql, parameters: seen.append(sql)
    try:
        work()
    finally:
        database.on_message = None
    return [sql for sql in seen if "pg_notify" not in sql]


def test_plain_batch_is_one_message(
    database: PostgresDatabase, events: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and events by one statement, commit included: the lock is held for no round trip. NOTIFY is not in it."""
    monkeypatch.setattr(database, "_keeps_statements", False)
    events.append("r1", [])
    for batch in (plain(1), plain(*range(2, 500))):
        (message,) = messages_of(database, lambda batch=batch: events.append("r1", batch))  # type: ignore[misc]
        assert message.count("UPDATE") == message.count("INSERT") == 1


def test_batch_that_counts_is_one_message(database: PostgresDatabase, events: PostgresEventLogStorage) -> None:
    """Outputs, materializations and expectations of steps that the log knows; with one it doesn't, three messages."""
    events.append("r1", [EventDraft("STEP_START", step_key="s"), EventDraft("STEP_START", step_key="t")])
    for batch in (steps(1), counted("s", 1)[:1], counted("t", 2) + steps(2, 3) + plain(4), counted("s", 5)):
        sent = messages_of(database, lambda batch=batch: events.append("r1", batch))  # type: ignore[misc]
        assert len([sql for sql in sent if "PREPARE" not in sql]) == 1
    assert len(messages_of(database, lambda: events.append("r1", steps(6) + counted("new", 6)))) == 3
    found = {s.step_key: (s.materializations, s.expectations) for s in events.steps(["r1"])["r1"]}
    assert found == {"s": (2, 2), "t": (1, 2), "new": (1, 2)}


def test_batch_that_moves_states_is_two_messages(
    database: PostgresDatabase, events: PostgresEventLogStorage, runs: PostgresRunStorage
) -> None:
    """One that locks and reads, one that writes and commits; whatever is in it."""
    runs.add(NewRun("r1", "nightly"))
    events.append("r1", [])
    batch = [
        EventDraft("RUN_START"),
        *(EventDraft("STEP_START", step_key=f"s{n}") for n in range(50)),
        *plain(1),
        EventDraft("RUN_SUCCESS"),
    ]
    first, second = messages_of(database, lambda: events.append("r1", batch))
    assert first.startswith("BEGIN")
    assert second.endswith("COMMIT")
    assert "FOR NO KEY UPDATE" not in second
    # The feed's row is locked by the last statement before the commit.
    assert second.rindex("run_feed") > second.rindex("INSERT")


IDS = [f"r{n}" for n in range(100)]

ASK: dict[str, Callable[[PostgresRunStorage, PostgresEventLogStorage, list[str]], object]] = {
    "get": lambda runs, events, ids: runs.get(ids),
    "page": lambda runs, events, ids: runs.page(RunFilter(), limit=len(ids)),
    "heads": lambda runs, events, ids: events.heads(ids),
    "steps": lambda runs, events, ids: events.steps(ids),
    "read": lambda runs, events, ids: events.read([EventQuery(run_id, limit=10) for run_id in ids]),
    "read last": lambda runs, events, ids: events.read(
        [EventQuery(run_id, limit=10, order=EventsOrder.NEWEST_FIRST) for run_id in ids]
    ),
    "close": lambda runs, events, ids: events.close_runs(ids),
}


@pytest.mark.parametrize("name", ASK)
def test_messages_are_constant(
    database: PostgresDatabase, events: PostgresEventLogStorage, runs: PostgresRunStorage, name: str
) -> None:
    """One run or a hundred: one message."""
    for run_id in IDS:
        runs.add(NewRun(run_id, "nightly", tags=(("team", "core"),)))
        events.append(run_id, [EventDraft("RUN_START"), EventDraft("STEP_START", step_key="s")])
    assert len(messages_of(database, lambda: ASK[name](runs, events, IDS[:1]))) == 1
    assert len(messages_of(database, lambda: ASK[name](runs, events, IDS))) == 1


def test_adding_a_run_is_one_message(database: PostgresDatabase, runs: PostgresRunStorage) -> None:
    """With its tags; the lock of the feed is held for no round trip."""
    tags = tuple((f"k{n}", "v") for n in range(20))
    runs.now_us()
    assert len(messages_of(database, lambda: runs.add(NewRun("r1", "nightly", tags=tags)))) == 1
