"""Where a process can start no thread, because there are too many or because it ends: what needs one does without, and
goes on by itself later."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daglens.storage.object_store import ObjectStoreComputeLogManager
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.records import EventDraft, LogKey
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage
from daglens.testing.compute_logs.topic import OUT, begin, whole, write
from daglens.testing.threads import DEADLINE_S
from tests.storages.object_stores import in_memory
from tests.storages.postgres_waiting import until


class NoThreads:
    """While `missing`, none can be started."""

    def __init__(self) -> None:
        self.missing = False


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> NoThreads:
    """To be told when there are none."""
    state, start = NoThreads(), threading.Thread.start

    def start_if_any(thread: threading.Thread) -> None:
        if state.missing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_if_any)
    return state


@pytest.fixture
def postgres_events(postgres_config: PostgresConfig) -> Iterator[Callable[[], PostgresEventLogStorage]]:
    """Each call gives what another process has."""
    opened: list[PostgresDatabase] = []

    def open_one() -> PostgresEventLogStorage:
        opened.append(PostgresDatabase(postgres_config))
        return PostgresEventLogStorage(opened[-1])

    yield open_one
    for database in opened:
        database.close()


def test_appends_on_postgres_are_no_errors(
    postgres_events: Callable[[], PostgresEventLogStorage], threads: NoThreads
) -> None:
    """Events are stored and other processes hear of them, without a thread as with one."""
    told: queue.Queue[str | None] = queue.Queue()
    writer, watcher = postgres_events(), postgres_events()
    watch = watcher.watch(told.put)
    until(lambda: watcher.live_mode == "LISTEN", "it hears itself")
    for threads.missing in (True, False):
        while not told.empty():
            told.get_nowait()
        assert writer.append("r1", [EventDraft("LOG_MESSAGE")]).accepted == 1
        while told.get(timeout=DEADLINE_S) != "r1":
            pass
    watch.stop()


def test_watches_on_postgres_poll_meanwhile(
    postgres_events: Callable[[], PostgresEventLogStorage], threads: NoThreads
) -> None:
    """A watch that finds no thread to listen is none that fails; the next one listens, for both."""
    events = postgres_events()
    threads.missing = True
    told: queue.Queue[str | None] = queue.Queue()
    first = events.watch(told.put)
    assert events.live_mode == "POLL"
    threads.missing = False
    second = events.watch(lambda run_id: None)
    until(lambda: events.live_mode == "LISTEN", "it hears itself")
    assert told.get(timeout=DEADLINE_S) is None
    first.stop()
    second.stop()


def test_health_of_postgres_tells(postgres_events: Callable[[], PostgresEventLogStorage], threads: NoThreads) -> None:
    """It never raises, says what is missing, and is well again afterwards."""
    events = postgres_events()
    threads.missing = True
    for _ in range(2):
        told = events.health()
        assert not told.healthy
        assert "can't start new thread. Allow this process more threads." in (told.problem or "")
    threads.missing = False
    assert events.health().healthy


def test_watches_on_sqlite_poll_meanwhile(tmp_path: Path, threads: NoThreads) -> None:
    """A watch that finds no thread is told of this process's own commits, and of others' once there is one."""
    database, other = SqliteDatabase(tmp_path / "daglens.db"), SqliteDatabase(tmp_path / "daglens.db")
    events, elsewhere = SqliteEventLogStorage(database), SqliteEventLogStorage(other)
    told: queue.Queue[str | None] = queue.Queue()
    threads.missing = True
    first = events.watch(told.put)
    events.append("own", [EventDraft("LOG_MESSAGE")])
    assert told.get(timeout=DEADLINE_S) == "own"
    threads.missing = False
    second = events.watch(lambda run_id: None)
    elsewhere.append("other", [EventDraft("LOG_MESSAGE")])
    assert told.get(timeout=DEADLINE_S) is None
    first.stop()
    second.stop()
    database.close()
    other.close()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
    """With a store in memory."""
    made = in_memory(tmp_path)
    yield made
    made.close()


def test_captures_for_an_object_store_go_on(
    logs: ObjectStoreComputeLogManager, threads: NoThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step writes is kept, and sent with the next capture that finds a thread."""
    monkeypatch.setattr("daglens.storage.object_store.uploads.OPEN_WAIT_S", 0.01)
    threads.missing = True
    capture = begin(logs, LogKey("r1", "first"))
    write(capture, OUT, b"kept\n")
    capture.close()
    threads.missing = False
    begin(logs, LogKey("r1", "second")).close()
    until(lambda: bool(logs.list(["r1"])["r1"]) and logs.latest_attempt("r1", "first") == 1, "the first one is there")
    assert logs.finish_leftovers(DEADLINE_S).left == 0
    assert whole(logs, LogKey("r1", "first")) == b"kept\n"
