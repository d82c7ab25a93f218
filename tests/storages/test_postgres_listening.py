"""News of other processes' appends: heard while it is sure to come, and never needed."""

from __future__ import annotations

import os
import queue
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from daglens.config.secrets import Secret
from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage, listening
from daglens.storage.postgres.channels import news_channel
from daglens.storage.records import EventDraft
from daglens.testing.names import ODD_NAMES
from daglens.testing.threads import DEADLINE_S
from tests.storages.children import outputs, start
from tests.storages.postgres_server import PostgresServer
from tests.storages.postgres_waiting import until


class Heard:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self._told: queue.Queue[str | None] = queue.Queue()

    def __call__(self, run_id: str | None) -> None:
        self._told.put(run_id)

    def wait_for(self, run_id: str | None) -> None:
        """Return when this was told."""
        while self._told.get(timeout=DEADLINE_S) != run_id:
            pass

    def forget(self) -> list[str | None]:
        """What was told so far."""
        told = []
        while not self._told.empty():
            told.append(self._told.get_nowait())
        return told


@pytest.fixture
def config(postgres: PostgresServer, postgres_config: PostgresConfig) -> PostgresConfig:
    return replace(postgres_config, postgres_url=Secret(f"{postgres.url}&application_name=watcher"))


@pytest.fixture
def events(config: PostgresConfig) -> Iterator[PostgresEventLogStorage]:
    database = PostgresDatabase(config)
    yield PostgresEventLogStorage(database)
    database.close()


@pytest.fixture
def other(postgres_config: PostgresConfig) -> Iterator[PostgresEventLogStorage]:
    """What another process has."""
    database = PostgresDatabase(postgres_config)
    yield PostgresEventLogStorage(database)
    database.close()


def listeners(postgres: PostgresServer) -> list[int]:
    """Process ids of the server's backends that listen for the watcher."""
    rows = postgres.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'watcher' AND query LIKE 'LISTEN%%'", {}
    )
    return [pid for (pid,) in rows]


def hears(events: PostgresEventLogStorage) -> None:
    until(lambda: events.live_mode == "LISTEN", "it hears itself")


APPEND_ON_DEMAND = """
import sys
from daglens.config.secrets import Secret
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage
from daglens.storage.records import EventDraft

database = PostgresDatabase(PostgresConfig(postgres_url=Secret(sys.argv[1]), schema_name=sys.argv[2]))
events = PostgresEventLogStorage(database)
events.append("r1", [])
print("ready", flush=True)
for line in sys.stdin:
    events.append("r1", [EventDraft("LOG_MESSAGE")])
database.close()
"""


def test_another_process_is_heard(
    postgres: PostgresServer, postgres_schema: str, events: PostgresEventLogStorage
) -> None:
    """Each of its appends brings a hint that names the run; the last one too, after which the process ends."""
    child = start(APPEND_ON_DEMAND, postgres.url, postgres_schema)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "ready\n"
    heard = Heard()
    watch = events.watch(heard)
    hears(events)
    for number in range(1, 4):
        heard.forget()
        child.stdin.write("\n")
        child.stdin.flush()
        heard.wait_for("r1")
        assert events.heads(["r1"])["r1"].last_seq == number
    heard.forget()
    child.stdin.write("\n")
    outputs([child])
    heard.wait_for("r1")
    watch.stop()


def test_mode_tells_whether_it_listens(postgres: PostgresServer, events: PostgresEventLogStorage) -> None:
    """POLL before anybody watches, LISTEN while somebody does, then POLL again; one connection for all watches."""
    assert events.live_mode == "POLL"
    watches = [events.watch(lambda run_id: None) for _ in range(50)]
    hears(events)
    assert len(listeners(postgres)) == 1
    for watch in watches[1:]:
        watch.stop()
    assert events.live_mode == "LISTEN"
    watches[0].stop()
    assert events.live_mode == "POLL"
    until(lambda: listeners(postgres) == [], "its connection is closed")
    again = events.watch(lambda run_id: None)
    hears(events)
    again.stop()


def test_odd_run_ids(events: PostgresEventLogStorage, other: PostgresEventLogStorage) -> None:
    """Underscores, quotes, percent signs and the longest ids name themselves, and end no watch."""
    heard = Heard()
    watch = events.watch(heard)
    hears(events)
    missing = set(ODD_NAMES)
    for name in ODD_NAMES:
        other.append(name, [EventDraft("LOG_MESSAGE")])
    while missing:
        missing.discard(heard._told.get(timeout=DEADLINE_S))
    watch.stop()


def test_other_schemas_are_not_heard(
    postgres: PostgresServer, events: PostgresEventLogStorage, other: PostgresEventLogStorage
) -> None:
    """Channels belong to the whole database: those of another schema, and strangers' words, are left out."""
    heard = Heard()
    watch = events.watch(heard)
    hears(events)
    heard.forget()
    for channel in (news_channel("elsewhere"), "daglens", "run_events"):
        postgres.execute("SELECT pg_notify(%(channel)s, 'wrong')", {"channel": channel})
    other.append("r1", [EventDraft("LOG_MESSAGE")])
    heard.wait_for("r1")
    assert "wrong" not in heard.forget()
    watch.stop()


@pytest.mark.parametrize("blow", ["terminate", "restart"])
def test_listener_is_killed(
    postgres: PostgresServer, events: PostgresEventLogStorage, other: PostgresEventLogStorage, blow: str
) -> None:
    """Its backend ends: anything may have been said meanwhile, so that is told; then it listens again."""
    heard = Heard()
    watch = events.watch(heard)
    hears(events)
    (before,) = listeners(postgres)
    heard.forget()
    if blow == "terminate":
        postgres.execute("SELECT pg_terminate_backend(%(pid)s)", {"pid": before})
    else:
        postgres.stop()
        until(lambda: events.live_mode == "POLL", "it knows that it hears nothing")
        postgres.start()
    heard.wait_for(None)
    until(lambda: listeners(postgres) not in ([], [before]), "it listens again")
    hears(events)
    heard.forget()
    other.append("r1", [EventDraft("LOG_MESSAGE")])
    heard.wait_for("r1")
    watch.stop()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """The next descriptors are beyond 1,023, as in a server with a thousand viewers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] <= 1024:
        opened.append(os.dup(opened[0]))
    yield
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_it_listens_in_a_server_with_many_viewers(
    events: PostgresEventLogStorage, other: PostgresEventLogStorage
) -> None:
    """However many sockets there are, it listens, hears, and ends."""
    heard = Heard()
    watch = events.watch(heard)
    hears(events)
    other.append("r1", [EventDraft("LOG_MESSAGE")])
    heard.wait_for("r1")
    watch.stop()


def test_nothing_comes_through(events: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler that takes LISTEN and delivers nothing: the mode says POLL, the watch stays, and it is tried again."""
    monkeypatch.setattr(listening, "ECHO_PATIENCE_S", 0.05)
    monkeypatch.setattr(listening, "_LONGEST_PAUSE_S", 0.05)
    tries = threading.Semaphore(0)
    lost = threading.Event()

    def swallow(channel: str) -> None:
        tries.release()
        if lost.is_set():
            events.database.notifier.echo(channel)

    monkeypatch.setattr(events.database.listener, "_echo", swallow)
    heard = Heard()
    watch = events.watch(heard)
    for _ in range(3):
        assert tries.acquire(timeout=DEADLINE_S)
        assert events.live_mode == "POLL"
    events.append("r1", [EventDraft("LOG_MESSAGE")])
    heard.wait_for("r1")
    lost.set()
    hears(events)
    watch.stop()


def test_echo_is_asked_for_again(events: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that went deaf is found out by its next echo, and replaced."""
    monkeypatch.setattr(listening, "ECHO_EVERY_S", 0.05)
    monkeypatch.setattr(listening, "ECHO_PATIENCE_S", 0.1)
    deaf = threading.Event()
    echo = events.database.listener._echo
    monkeypatch.setattr(events.database.listener, "_echo", lambda channel: None if deaf.is_set() else echo(channel))
    watch = events.watch(lambda run_id: None)
    hears(events)
    deaf.set()
    until(lambda: events.live_mode == "POLL", "it noticed")
    deaf.clear()
    hears(events)
    watch.stop()


def messages_of(database: PostgresDatabase, work: Callable[[], object]) -> list[str]:
    seen: list[str] = []
    database.on_message = lambda sql, parameters: seen.append(sql)
    try:
        work()
        database.notifier.close()
    finally:
        database.on_message = None
    return seen


def test_notices_are_coalesced_and_apart(other: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """No append notifies in its own transaction; of many appends there are few notices."""
    from daglens.storage.postgres import notifying

    monkeypatch.setattr(notifying, "PAUSE_S", 30)
    other.append("r1", [])

    def work() -> None:
        for _ in range(100):
            other.append("r1", [EventDraft("LOG_MESSAGE")])

    sent = messages_of(other.database, work)
    notices = [sql for sql in sent if "pg_notify" in sql]
    assert 1 <= len(notices) <= 2
    assert not any("INSERT" in sql or "EXECUTE" in sql for sql in notices)
    assert len([sql for sql in sent if "EXECUTE" in sql]) == 100


def test_news_that_cannot_be_sent_fail_no_append(
    other: PostgresEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice is a hint: when it can't be sent, the append is stored all the same."""
    sent = threading.Semaphore(0)

    def fail(sql: str, parameters: object) -> None:
        sent.release()
        raise StorageUnavailable("no")

    monkeypatch.setattr(other.database.notifier, "_send", fail)
    assert other.append("r1", [EventDraft("LOG_MESSAGE")]).first_seq == 1
    assert sent.acquire(timeout=DEADLINE_S)
    assert other.append("r1", [EventDraft("LOG_MESSAGE")]).first_seq == 2


def test_closing_ends_threads_and_connections(postgres: PostgresServer, config: PostgresConfig) -> None:
    """A storage that is closed while it watches and has just appended leaves nothing behind."""
    before = set(threading.enumerate())
    database = PostgresDatabase(config)
    events = PostgresEventLogStorage(database)
    events.watch(lambda run_id: None)
    hears(events)
    events.append("r1", [EventDraft("LOG_MESSAGE")])
    events.close()
    until(lambda: set(threading.enumerate()) <= before, "its threads have ended")
    until(lambda: postgres.connections("watcher") == [], "its connections are closed")
