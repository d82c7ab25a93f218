"""Other processes: what they commit is heard of, and a fork carries no connection with it."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daglens.storage.records import EventDraft, EventQuery, NewRun
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage, SqliteRunStorage
from daglens.testing.threads import DEADLINE_S
from tests.storages.children import outputs, start

APPEND_ON_DEMAND = """
import sys
from pathlib import Path
from daglens.storage.records import EventDraft
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage

events = SqliteEventLogStorage(SqliteDatabase(Path(sys.argv[1])))
events.append("r1", [])
print("ready", flush=True)
for line in sys.stdin:
    events.append("r1", [EventDraft("LOG_MESSAGE")])
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path / "daglens.db")
    yield made
    made.close()


def test_another_process_is_heard(database: SqliteDatabase) -> None:
    """Its commit calls the watch, again and again; not a word about which run, as nobody told."""
    events = SqliteEventLogStorage(database)
    assert events.live_mode == "CHANGE_CHECK"
    child = start(APPEND_ON_DEMAND, database.path)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "ready\n"
    news = threading.Semaphore(0)
    heard: list[str | None] = []

    def on_news(run_id: str | None) -> None:
        heard.append(run_id)
        news.release()

    watch = events.watch(on_news)
    assert news.acquire(timeout=DEADLINE_S), "a watch begins with news: what came before it isn't known"
    for _ in range(3):
        child.stdin.write("\n")
        child.stdin.flush()
        assert news.acquire(timeout=DEADLINE_S)
    watch.stop()
    assert set(heard) == {None}
    outputs([child])


def test_watch_thread_lives_while_there_is_a_watch(database: SqliteDatabase) -> None:
    """One thread for any number of watches, none after the last."""

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "daglens-sqlite-watch"]

    before = len(threads())
    events = SqliteEventLogStorage(database)
    watches = [events.watch(lambda run_id: None) for _ in range(100)]
    (thread,) = threads()[before:]
    for watch in watches:
        watch.stop()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    again = events.watch(lambda run_id: None)
    assert len(threads()) == before + 1
    again.stop()


def test_watch_goes_on_after_the_file_was_out_of_reach(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while asking for changes ends no watch."""
    from daglens.storage.sqlite import watching

    monkeypatch.setattr(watching, "_RETRY_S", 0.01)
    asked = threading.Semaphore(0)
    connect = database._connect

    def fail(*, reader: bool) -> object:
        asked.release()
        raise OSError("out of reach")

    monkeypatch.setattr(database, "_connect", fail)
    news = threading.Semaphore(0)
    watch = SqliteEventLogStorage(database).watch(lambda run_id: news.release())
    assert asked.acquire(timeout=DEADLINE_S)
    assert asked.acquire(timeout=DEADLINE_S)
    monkeypatch.setattr(database, "_connect", connect)
    while news.acquire(blocking=False):
        pass
    other = SqliteEventLogStorage(SqliteDatabase(database.path))
    other.append("r1", [EventDraft("LOG_MESSAGE")])
    assert news.acquire(timeout=DEADLINE_S)
    watch.stop()
    other.database.close()


# ---------------------------------------------------------------- forks


def in_a_fork(work: Callable[[], object]) -> int:
    """Exit code of a forked child that runs `work`; it leaves as os._exit does."""
    with warnings.catch_warnings():
        # 3.12 warns of a fork while there are threads; that they are there is the point of some of these tests.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_both_sides_of_a_fork_write_and_read(database: SqliteDatabase) -> None:
    """Each with connections of its own; the log is dense, and nothing is lost."""
    runs, events = SqliteRunStorage(database), SqliteEventLogStorage(database)
    runs.add(NewRun("r1", "nightly"))
    events.append("r1", [EventDraft("RUN_START")])

    def child() -> None:
        for _ in range(20):
            events.append("r1", [EventDraft("LOG_MESSAGE")])
        assert runs.get(["r1"])["r1"].started_at_us is not None

    for _ in range(5):
        assert in_a_fork(child) == 0
        events.append("r1", [EventDraft("LOG_MESSAGE")])
    (page,) = events.read([EventQuery("r1", limit=1000)])
    assert [event.seq for event in page.events] == list(range(1, 107))


def test_parent_that_closes_leaves_the_child_its_log(database: SqliteDatabase) -> None:
    """The write-ahead log isn't taken away from under a child that is still writing (it would hold no lock)."""
    events = SqliteEventLogStorage(database)
    events.append("r1", [EventDraft("LOG_MESSAGE")])
    go_on, ready = os.pipe(), os.pipe()

    child = os.fork()
    if child == 0:
        code = 1
        try:
            events.append("r1", [EventDraft("LOG_MESSAGE")])
            os.write(ready[1], b".")
            os.read(go_on[0], 1)
            events.append("r1", [EventDraft("LOG_MESSAGE")])
            code = 0
        finally:
            os._exit(code)
    os.read(ready[0], 1)
    events.append("r1", [EventDraft("LOG_MESSAGE")])
    database.close()
    os.write(go_on[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for descriptor in (*go_on, *ready):
        os.close(descriptor)
    again = SqliteDatabase(database.path)
    assert SqliteEventLogStorage(again).heads(["r1"])["r1"].last_seq == 4
    again.close()


def test_fork_while_other_threads_are_at_work(database: SqliteDatabase) -> None:
    """It waits for them; neither side hangs or fails, with a watch on."""
    events = SqliteEventLogStorage(database)
    stop = threading.Event()
    failed: list[BaseException] = []

    def work(ask: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                ask()
        except BaseException as error:
            failed.append(error)

    asks: list[Callable[[], object]] = [
        lambda: events.append("busy", [EventDraft("LOG_MESSAGE")]),
        lambda: events.read([EventQuery("busy")]),
    ]
    threads = [threading.Thread(target=work, args=(ask,), daemon=True) for ask in asks]
    watch = events.watch(lambda run_id: None)
    for thread in threads:
        thread.start()
    codes = [in_a_fork(lambda: events.append("r1", [EventDraft("LOG_MESSAGE")])) for _ in range(10)]
    stop.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    watch.stop()
    assert codes == [0] * 10
    assert failed == []
    assert events.heads(["r1"])["r1"].last_seq == 10


CLOSE_UNDER_WRITES = """
import sys
import threading
from pathlib import Path
from daglens.storage.records import EventDraft
from daglens.storage.sqlite import SqliteDatabase, SqliteEventLogStorage

database = SqliteDatabase(Path(sys.argv[1]))
events = SqliteEventLogStorage(database)
begun, enough = threading.Event(), threading.Event()

def write():
    while not enough.is_set():
        events.append("r1", [EventDraft("LOG_MESSAGE")])
        begun.set()

writer = threading.Thread(target=write)
writer.start()
for _ in range(100):
    begun.clear()
    begun.wait()
    database.close()
enough.set()
writer.join()
database.close()
print("whole")
"""


def test_closing_waits_for_who_writes(tmp_path: Path) -> None:
    """A database that is closed while another thread commits lets it commit first; the process goes on."""
    child = start(CLOSE_UNDER_WRITES, tmp_path / "daglens.db")
    assert outputs([child]) == ["whole\n"]
