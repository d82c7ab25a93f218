"""One pool per address and process, bounded, that survives a fork; and what a configuration says of an address."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daglens.config.secrets import Secret
from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres import (
    PostgresConfig,
    PostgresDatabase,
    PostgresDb,
    PostgresEventLogStorage,
    PostgresRunStorage,
)
from daglens.storage.postgres.pool import Connection, ConnectionPool, give_back
from daglens.storage.postgres.prepared import Session
from daglens.storage.records import EventDraft, EventQuery, NewRun, RunFilter
from daglens.testing.threads import DEADLINE_S, together
from tests.storages.postgres_server import PostgresServer
from tests.storages.postgres_waiting import until

HOME = Path("/unused")


@pytest.fixture
def config(postgres: PostgresServer, postgres_config: PostgresConfig) -> PostgresConfig:
    """With a name of its own, so that its connections can be counted."""
    return replace(postgres_config, postgres_url=Secret(f"{postgres.url}&application_name=counted"), pool_size=5)


# ---------------------------------------------------------------- how many connections


def test_never_more_connections_than_the_pool(postgres: PostgresServer, config: PostgresConfig) -> None:
    """200 queries at once, by both storages, with a watch on: the pool's connections, and one that listens."""
    runs, events = PostgresRunStorage.from_config(config, HOME), PostgresEventLogStorage.from_config(config, HOME)
    runs.add(NewRun("r1", "nightly"))
    events.append("r1", [EventDraft("LOG_MESSAGE")])
    watches = [events.watch(lambda run_id: None) for _ in range(10)]
    done = threading.Event()
    counts: list[int] = []

    def count() -> None:
        while not done.is_set():
            counts.append(len(postgres.connections("counted")))

    counting = threading.Thread(target=count)
    counting.start()

    def ask(number: int) -> None:
        for _ in range(5):
            if number % 3 == 0:
                runs.page(RunFilter())
            elif number % 3 == 1:
                events.read([EventQuery("r1")])
            else:
                events.append("r1", [EventDraft("LOG_MESSAGE")])

    try:
        together([lambda number=number: ask(number) for number in range(200)])  # type: ignore[misc]
    finally:
        done.set()
        counting.join()
        for watch in watches:
            watch.stop()
        events.close()
        runs.close()
    assert 2 <= max(counts) <= 5 + 1
    until(lambda: postgres.connections("counted") == [], "all are given back")


def test_storages_of_one_address_share(config: PostgresConfig) -> None:
    """One database object for both storages, one pool for two schemas, until the last one is closed."""
    runs, events = PostgresRunStorage.from_config(config, HOME), PostgresEventLogStorage.from_config(config, HOME)
    other = PostgresRunStorage.from_config(replace(config, schema_name="elsewhere", pool_size=9), HOME)
    try:
        assert events.projects_into(runs)
        assert not events.projects_into(other)
        assert runs.database is events.database
        assert runs.database.pool is other.database.pool
        assert runs.pool_size == events.pool_size == 9
        runs.close()
        runs.close()
        assert events.heads(["r1"]) == {}
    finally:
        for storage in (runs, events, other):
            storage.close()
    again = PostgresRunStorage.from_config(config, HOME)
    assert again.database.pool is not other.database.pool
    again.close()


def test_nothing_connects_before_it_is_needed(postgres: PostgresServer, config: PostgresConfig) -> None:
    """Making storages, and asking what they are, makes no connection; the first call makes one."""
    runs, events = PostgresRunStorage.from_config(config, HOME), PostgresEventLogStorage.from_config(config, HOME)
    assert (events.live_mode, runs.pool_size) == ("POLL", 5)
    assert postgres.connections("counted") == []
    runs.get(["r1"])
    assert len(postgres.connections("counted")) == 1
    runs.close()
    events.close()


def test_careful_settings_win() -> None:
    """Where two storages share and say different things: full durability, the longer timeout, no tables made."""
    config = PostgresConfig(postgres_url=Secret("postgresql://me@127.0.0.1:1/x"), durability="normal")
    one = PostgresDatabase.shared(config)
    try:
        assert "synchronous_commit" in one.settings()
        assert "statement_timeout = 30000" in one.settings()
        other = PostgresDatabase.shared(replace(config, durability="full", statement_timeout_s=60))
        assert other is one
        assert "synchronous_commit" not in one.settings()
        assert "statement_timeout = 60000" in one.settings()
        other.release()
    finally:
        one.release()


@pytest.mark.parametrize("times", [1, 2])
def test_connection_that_is_lost_as_soon_as_it_is_made(
    config: PostgresConfig, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Another is made in its place, once; then the storage doesn't answer."""
    look = Session.look_for_pooler
    lost: list[int] = []

    def end_before_looking(session: Session) -> None:
        if len(lost) < times:
            lost.append(session.info.backend_pid)
            postgres.execute("SELECT pg_terminate_backend(%(pid)s, 60000)", {"pid": session.info.backend_pid})
        look(session)

    monkeypatch.setattr(Session, "look_for_pooler", end_before_looking)
    pool = ConnectionPool(config)
    with contextlib.closing(pool):
        if times > 1:
            with pytest.raises(StorageUnavailable):
                pool.take()
        else:
            taken = pool.take()
            connection: Connection = taken.dbapi_connection
            assert connection.kept == set()
            give_back(taken)
    assert len(lost) == times


# ---------------------------------------------------------------- forks


def in_a_fork(work: Callable[[], object]) -> int:
    """Exit code of a forked child that runs `work`; it leaves as os._exit does."""
    with warnings.catch_warnings():
        # 3.12 warns of a fork while there are threads; that they are there is the point.
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


@pytest.fixture
def storages(config: PostgresConfig) -> Iterator[tuple[PostgresRunStorage, PostgresEventLogStorage]]:
    runs, events = PostgresRunStorage.from_config(config, HOME), PostgresEventLogStorage.from_config(config, HOME)
    yield runs, events
    runs.close()
    events.close()


def test_both_sides_of_a_fork_write_and_read(storages: tuple[PostgresRunStorage, PostgresEventLogStorage]) -> None:
    """Each with connections of its own, also while another thread of the parent is at work and somebody watches."""
    runs, events = storages
    runs.add(NewRun("r1", "nightly"))
    watch = events.watch(lambda run_id: None)
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                events.append("busy", [EventDraft("LOG_MESSAGE")])
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def child() -> None:
        heard = threading.Event()
        own = events.watch(lambda run_id: heard.set())
        for _ in range(10):
            events.append("r1", [EventDraft("LOG_MESSAGE")])
        assert heard.wait(DEADLINE_S)
        own.stop()
        assert runs.get(["r1"])["r1"].pipeline_name == "nightly"

    for _ in range(5):
        assert in_a_fork(child) == 0
        events.append("r1", [EventDraft("LOG_MESSAGE")])
    stop.set()
    thread.join(DEADLINE_S)
    watch.stop()
    assert failed == []
    (page,) = events.read([EventQuery("r1", limit=1000)])
    assert [event.seq for event in page.events] == list(range(1, 56))


# ---------------------------------------------------------------- addresses


def parameters(url: str) -> dict[str, Any]:
    """What libpq is given for a URL, without the defaults."""
    config = PostgresConfig(postgres_url=Secret(url))
    defaults = PostgresConfig(postgres_url=Secret("postgresql://")).address().parameters()
    given = config.address().parameters()
    return {name: value for name, value in given.items() if defaults.get(name) != value}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://me:pw@db:5433/runs",
            {"user": "me", "password": "pw", "host": "db", "port": "5433", "dbname": "runs"},
        ),
        ("postgres://me@db/runs", {"user": "me", "host": "db", "dbname": "runs"}),
        ("postgresql+psycopg2://db", {"host": "db"}),
        ("postgresql+psycopg://db/", {"host": "db"}),
        ("POSTGRESQL+asyncpg://db", {"host": "db"}),
        (
            "postgresql://m%40e:p%2Fw%25%3A@db/r%20s?sslmode=require&application_name=x%20y",
            {
                "user": "m@e",
                "password": "p/w%:",
                "host": "db",
                "dbname": "r s",
                "sslmode": "require",
                "application_name": "x y",
            },
        ),
        ("postgresql://me:p@ss:w0rd%@db/x", {"user": "me", "password": "p@ss:w0rd%", "host": "db", "dbname": "x"}),
        ("postgresql://me:a+b@db", {"user": "me", "password": "a+b", "host": "db"}),
        ("postgresql://me@/runs?host=/var/run/pg", {"user": "me", "dbname": "runs", "host": "/var/run/pg"}),
        ("postgresql://me@%2Fvar%2Frun/runs", {"user": "me", "dbname": "runs", "host": "/var/run"}),
        ("postgresql://[::1]:5432/x", {"host": "::1", "port": "5432", "dbname": "x"}),
        (
            "postgresql://a:1,b:2/x?target_session_attrs=read-write",
            {"host": "a,b", "port": "1,2", "dbname": "x", "target_session_attrs": "read-write"},
        ),
        (" postgresql://db/x\n", {"host": "db", "dbname": "x"}),
    ],
)
def test_urls(url: str, expected: dict[str, str]) -> None:
    """As libpq reads them, and more patiently where a password was not encoded; the driver's name means nothing."""
    assert parameters(url) == expected


@pytest.mark.parametrize(
    "url",
    ["", "planted", "mysql://planted@db/x", "sqlite:///planted", "postgresql://u:planted:x@db:port/x",
     "postgresql://u:plan/ted@db:1:2/x", "postgresql://db/x?planted", "postgresqlx://planted"],
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    """Refused, with a sentence that shows nothing of it."""
    with pytest.raises(ValueError, match="postgres_url") as caught:
        PostgresConfig(postgres_url=Secret(url))
    assert "plan" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://me:planted%00@db/x", "postgresql://me@db/x%00", "postgresql://db?p=%00"])
def test_what_libpq_cannot_hold(url: str) -> None:
    """A NUL is refused when the configuration is read, not by every call."""
    with pytest.raises(ValueError, match="NUL") as caught:
        PostgresConfig(postgres_url=Secret(url))
    assert "plan" not in str(caught.value)


def test_parts_say_the_same_as_a_url() -> None:
    """A password with every odd character needs no encoding in `postgres_db`; both lead to one pool."""
    password = "p@ss/w:rd?%#&= 'ü\\"
    parts = PostgresDb("me", "db", "runs", password=Secret(password), port=5433, params={"sslmode": "prefer", "n": 1})
    url = "postgresql://me:p%40ss%2Fw%3Ard%3F%25%23%26%3D%20%27%C3%BC%5C@db:5433/runs?sslmode=prefer&n=1"
    one, other = PostgresConfig(postgres_db=parts).address(), PostgresConfig(postgres_url=Secret(url)).address()
    assert one == other
    assert hash(one) == hash(other)
    assert one.parameters()["password"] == password
    assert password not in repr(one) + str(one)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"schema_name": "pg_mine"}, "schema_name"),
        ({"schema_name": 'a"; DROP SCHEMA public'}, "schema_name"),
        ({"schema_name": ""}, "schema_name"),
        ({"schema_name": "x" * 64}, "schema_name"),
        ({"pool_size": 0}, "pool_size must be from 1 to 1000"),
        ({"max_overflow": -1}, "max_overflow"),
        ({"pool_timeout_s": 0}, "pool_timeout_s"),
        ({"statement_timeout_s": -1}, "statement_timeout_s"),
        ({"postgres_url": None}, "needs one of postgres_url and postgres_db"),
        ({"postgres_db": PostgresDb("a", "b", "c")}, "needs one of postgres_url and postgres_db"),
    ],
)
def test_what_no_configuration_can_be(wrong: dict[str, Any], sentence: str) -> None:
    """Told by the name of the key."""
    with pytest.raises(ValueError, match=sentence):
        PostgresConfig(**({"postgres_url": Secret("postgresql://me@db/x")} | wrong))
