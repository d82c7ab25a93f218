"""What a Postgres server may do to a call: told in one sentence without a secret, tried again where that is safe."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg2
import pytest

from daglens.config.secrets import Secret
from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.postgres.pool import give_back
from daglens.storage.records import EventDraft, EventQuery, NewRun, RunFilter, RunState, RunStatus
from tests.storages.postgres_server import PostgresServer, Proxy, config_for
from tests.storages.postgres_waiting import until, waiting
from tests.storages.test_postgres_append import Started

SECRET = "planted secret"


@contextlib.contextmanager
def opened(config: PostgresConfig) -> Iterator[tuple[PostgresRunStorage, PostgresEventLogStorage]]:
    """Both storages."""
    database = PostgresDatabase(config)
    try:
        yield PostgresRunStorage(database), PostgresEventLogStorage(database)
    finally:
        database.close()


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[Proxy]:
    with postgres.proxy() as made:
        yield made


@pytest.fixture
def through_proxy(proxy: Proxy, postgres_schema: str) -> PostgresConfig:
    """By TCP, with a password that must never show."""
    return config_for(proxy.url, postgres_schema)


def logged(*numbers: int, ids: bool = True) -> list[EventDraft]:
    return [EventDraft("LOG_MESSAGE", message=str(n), event_id=f"id {n}" if ids else None) for n in numbers]


def steps(*numbers: int, ids: bool = True) -> list[EventDraft]:
    return [
        EventDraft("STEP_OUTPUT", step_key="s", message=str(n), event_id=f"id {n}" if ids else None) for n in numbers
    ]


def texts(events: PostgresEventLogStorage) -> list[tuple[int, str]]:
    (page,) = events.read([EventQuery("r1")])
    return [(event.seq, event.message) for event in page.events]


def told(call: Callable[[], object]) -> str:
    """The sentence that a call fails with: no secret in it, and none in what caused it as far as it is shown."""
    with pytest.raises(StorageUnavailable) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    assert "planted%20secret" not in text
    return text


# ---------------------------------------------------------------- connections that are lost


CALLS: dict[str, Callable[[PostgresRunStorage, PostgresEventLogStorage], object]] = {
    "page": lambda runs, events: runs.page(RunFilter()),
    "add": lambda runs, events: runs.add(NewRun("r2", "nightly")),
    "tags": lambda runs, events: runs.add_tags("r1", [("a", "1")]),
    "heartbeat": lambda runs, events: runs.heartbeat("r1", 60),
    "project": lambda runs, events: runs.project("r1", RunState(RunStatus.STARTED, 1, state_seq=9)),
    "delete": lambda runs, events: runs.delete(["r1"]),
    "changes": lambda runs, events: runs.changes(None, 1),
    "read": lambda runs, events: events.read([EventQuery("r1")]),
    "append": lambda runs, events: events.append("r1", logged(5)),
    "append without ids": lambda runs, events: events.append("r1", logged(5, ids=False)),
    "append of steps": lambda runs, events: events.append("r1", steps(5, ids=False)),
    "close": lambda runs, events: events.close_runs(["r1"]),
    "delete events": lambda runs, events: events.delete("r1"),
}


@pytest.mark.parametrize("name", CALLS)
def test_connections_that_died_while_idle(
    postgres: PostgresServer, proxy: Proxy, through_proxy: PostgresConfig, name: str
) -> None:
    """Every pooled connection is dead, by the server's hand or by the network's: the call works all the same."""
    own = replace(through_proxy, postgres_url=Secret(f"{proxy.url}?application_name=dies"), pool_size=3)
    with opened(own) as (runs, events):
        runs.add(NewRun("r1", "nightly"))
        events.append("r1", logged(1))

        def terminate() -> None:
            postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dies'")

        for end in (terminate, proxy.drop_connections):
            # Again until all are new ones: that the last ones died may still be on its way through the proxy.
            until(lambda: _filled(runs.database, postgres) == 3, "the pool is full")
            before = set(postgres.connections("dies"))
            end()
            until(lambda before=before: not before & set(postgres.connections("dies")), "they are gone")  # type: ignore[misc]
            CALLS[name](runs, events)


def _filled(database: PostgresDatabase, postgres: PostgresServer) -> int:
    """Have as many idle connections as the pool keeps; how many the server knows of."""
    taken = [database.pool.take() for _ in range(database.pool.size)]
    for connection in taken:
        give_back(connection)
    return len(postgres.connections("dies"))


@contextlib.contextmanager
def head_locked(postgres: PostgresServer, schema: str, *, make: str = "") -> Iterator[None]:
    """Somebody holds the head of r1, which is made before when `make` says so."""
    if make:
        with opened(config_for(postgres.url, schema)) as (_, events):
            events.append(make, [])
    holder = psycopg2.connect(postgres.url)
    try:
        with holder.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {schema}.event_heads WHERE run_id = 'r1' FOR UPDATE")
        yield
    finally:
        holder.close()


@pytest.mark.fault("drop_connection")
@pytest.mark.parametrize("batch", [logged, steps])
def test_connection_lost_in_the_middle_of_an_append(
    postgres: PostgresServer,
    postgres_schema: str,
    proxy: Proxy,
    through_proxy: PostgresConfig,
    batch: Callable[..., list[EventDraft]],
) -> None:
    """Events with ids are sent again by themselves, and stored once."""
    with opened(through_proxy) as (_, events):
        events.append("r1", logged(1))
        with head_locked(postgres, postgres_schema):
            append = Started(lambda: events.append("r1", batch(2, 3)))
            until(lambda: waiting(postgres) == 1, "the append waits")
            proxy.drop_connections()
            until(lambda: waiting(postgres) == 2, "it is sent again, while the first try still waits at the server")
        answer = append.result()
        # The first try may have come through as well: then the second found its events.
        assert answer.accepted + answer.duplicates == 2
        until(lambda: waiting(postgres) == 0, "both are through")
        assert texts(events) == [(1, "1"), (2, "2"), (3, "3")]


def test_lost_in_the_middle_without_ids(
    postgres: PostgresServer, postgres_schema: str, proxy: Proxy, through_proxy: PostgresConfig
) -> None:
    """Whether such events are stored can't be known: that is said, and nothing is sent twice."""
    with opened(through_proxy) as (_, events):
        events.append("r1", logged(1))
        with head_locked(postgres, postgres_schema):
            append = Started(lambda: events.append("r1", logged(2, ids=False)))
            until(lambda: waiting(postgres) == 1, "the append waits")
            proxy.drop_connections()
            assert "Look whether it was stored before you send it again." in told(append.result)
        until(lambda: waiting(postgres) == 0, "the server is through with it")
        assert texts(events) in ([(1, "1")], [(1, "1"), (2, "2")])


@pytest.mark.fault("postgres_restarted")
def test_server_restart(postgres: PostgresServer, postgres_config: PostgresConfig) -> None:
    """While it is down every call says so; when it is back everything works, and what was acknowledged is there."""
    with opened(postgres_config) as (runs, events):
        runs.add(NewRun("r1", "nightly"))
        events.append("r1", logged(1))
        postgres.stop()
        try:
            for call in (lambda: runs.get(["r1"]), lambda: events.append("r1", logged(2))):
                assert "It can't be reached" in told(call)
            health = events.health()
            assert not health.healthy
            assert "It can't be reached" in str(health.problem)
        finally:
            postgres.start()
        assert events.append("r1", logged(2, 1)).accepted == 1
        assert texts(events) == [(1, "1"), (2, "2")]
        assert events.health().healthy


# ---------------------------------------------------------------- servers that refuse


@pytest.mark.fault("postgres_slow")
def test_statement_timeout(postgres: PostgresServer, postgres_config: PostgresConfig, postgres_schema: str) -> None:
    """A statement that waits too long is ended; nothing is stored, and the next call works."""
    with opened(replace(postgres_config, statement_timeout_s=0.2)) as (_, events):
        events.append("r1", logged(1))
        with head_locked(postgres, postgres_schema):
            for batch in (logged(2), steps(2)):
                text = told(lambda batch=batch: events.append("r1", batch))  # type: ignore[misc]
                assert "statement_timeout_s" in text
                assert "Nothing was stored" in text
        assert texts(events) == [(1, "1")]
        assert events.append("r1", logged(2)).first_seq == 2


def test_timeouts_leave_nothing_on_a_connection(postgres: PostgresServer, postgres_config: PostgresConfig) -> None:
    """No setting, no open transaction and no prepared statement survives a call."""
    own = replace(postgres_config, pool_size=1, statement_timeout_s=7, durability="normal")
    with opened(own) as (runs, events):
        runs.add(NewRun("r1", "nightly"))
        events.append("r1", [EventDraft("RUN_START"), *steps(1)])
        runs.page(RunFilter())
        with pytest.raises(psycopg2.errors.DivisionByZero):
            events.database.write("SELECT 1 / 0", {}, repeatable=True)
        taken = events.database.pool.take()
        with taken.dbapi_connection.cursor() as cursor:  # type: ignore[union-attr]
            settings = (
                "statement_timeout",
                "synchronous_commit",
                "enable_seqscan",
                "idle_in_transaction_session_timeout",
            )
            for setting in settings:
                cursor.execute("SELECT setting = reset_val FROM pg_settings WHERE name = %s", (setting,))
                assert cursor.fetchone() == (True,), setting
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            assert cursor.fetchone() == (0,)
        give_back(taken)


def test_read_only_server(postgres: PostgresServer, postgres_config: PostgresConfig) -> None:
    """A standby: reads work, writes say why not; and the next write asks anew, as the primary may have moved there."""
    with opened(postgres_config) as (_, events):
        events.append("r1", logged(1))
    postgres.execute("CREATE ROLE reader LOGIN SUPERUSER; ALTER ROLE reader SET default_transaction_read_only = on")
    url = Secret(postgres.url.replace("postgres@", "reader@"))
    try:
        with opened(replace(postgres_config, postgres_url=url)) as (runs, events):
            for call in (
                lambda: events.append("r1", logged(2)),
                lambda: events.append("r1", steps(2)),
                lambda: runs.add(NewRun("r2", "nightly")),
            ):
                assert "It is read-only" in told(call)
            assert texts(events) == [(1, "1")]
            assert runs.health().healthy
            told(lambda: events.append("r1", logged(2)))
            postgres.execute("ALTER ROLE reader RESET default_transaction_read_only")
            assert events.append("r1", logged(2)).first_seq == 2
    finally:
        postgres.execute("DROP ROLE reader")


@pytest.mark.fault("postgres_crowded")
def test_no_connection_free_at_the_server(postgres: PostgresServer, postgres_config: PostgresConfig) -> None:
    """It takes no more connections of this user."""
    postgres.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    try:
        url = Secret(postgres.url.replace("postgres@", "crowded@"))
        with opened(replace(postgres_config, postgres_url=url)) as (runs, _):
            assert "no connection free" in told(lambda: runs.get(["r1"]))
    finally:
        postgres.execute("DROP ROLE crowded")


def test_no_connection_free_in_the_pool(postgres_config: PostgresConfig) -> None:
    """A call waits for `pool_timeout_s`, and then says what to raise."""
    with opened(replace(postgres_config, pool_size=2, pool_timeout_s=0.2)) as (runs, _):
        runs.get(["r1"])
        taken = [runs.database.pool.take() for _ in range(2)]
        assert "all 2 connections of this process were in use for 0.2 s" in told(lambda: runs.get(["r1"]))
        give_back(taken[0])
        assert runs.get(["r1"]) == {}
        give_back(taken[1])


def test_wrong_password(postgres: PostgresServer, proxy: Proxy, postgres_schema: str) -> None:
    """Told without the password that was tried; so is a user whom nobody lets in."""
    rules = postgres.folder / "pg_hba.conf"
    before = rules.read_text(encoding="utf-8")
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'; CREATE ROLE banned LOGIN")
    rules.write_text(f"local all guarded scram-sha-256\nlocal all banned reject\n{before}", encoding="utf-8")
    postgres.execute("SELECT pg_reload_conf()")
    try:
        for user, sentence in (("guarded", "refuses the user or the password"), ("banned", "refuses this user")):
            url = proxy.url.replace("postgres:", f"{user}:")

            def refused(url: str = url, sentence: str = sentence) -> bool:
                # The new rules count when the server has read them.
                with opened(config_for(url, postgres_schema)) as (runs, _):
                    problem = runs.health().problem
                    return problem is not None and sentence in problem

            until(refused, sentence)
            with opened(config_for(url, postgres_schema)) as (runs, _):
                assert sentence in told(lambda runs=runs: runs.get(["r1"]))  # type: ignore[misc]
                assert SECRET not in str(runs.health().problem)
    finally:
        rules.write_text(before, encoding="utf-8")
        postgres.execute("SELECT pg_reload_conf(); DROP ROLE guarded, banned")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://me:planted%20secret@127.0.0.1:1/x", "It can't be reached"),
        ("postgresql://me:planted%20secret@127.0.0.1:1/x?bogus=1", "not one that libpq knows"),
        ("postgresql://me:planted%20secret@nowhere.invalid/x?connect_timeout=2", "It can't be reached"),
    ],
)
def test_no_server(url: str, sentence: str) -> None:
    """Nothing listens there, or there is no such place."""
    with opened(config_for(url, "daglens")) as (runs, events):
        assert sentence in told(lambda: runs.get(["r1"]))
        assert sentence in told(lambda: events.append("r1", []))
        assert sentence in told(runs.now_us)
        assert sentence in str(runs.health().problem)


def test_no_such_database(postgres: PostgresServer) -> None:
    """Told as such."""
    with opened(config_for(postgres.url.replace("/postgres?", "/nothing?"), "daglens")) as (runs, _):
        assert "It has no such database" in told(lambda: runs.get(["r1"]))


def test_deadlock_is_tried_again(
    postgres: PostgresServer, postgres_config: PostgresConfig, postgres_schema: str
) -> None:
    """Somebody who locks in another order: the call that the server chose to undo is done again, and succeeds."""
    with opened(postgres_config) as (runs, events):
        runs.add(NewRun("r1", "nightly"))
        events.append("r1", logged(1))
        other = psycopg2.connect(postgres.url)
        with other.cursor() as cursor:
            # The other one waits for longer before it looks for a deadlock: so it is not the one that is undone.
            cursor.execute("SET deadlock_timeout = '60s'")
            cursor.execute(f"SELECT 1 FROM {postgres_schema}.runs WHERE run_id = 'r1' FOR UPDATE")
            append = Started(lambda: events.append("r1", [EventDraft("RUN_START", event_id="start")]))
            until(lambda: waiting(postgres) == 1, "the append has the head and waits for the run")
            cursor.execute(f"SELECT 1 FROM {postgres_schema}.event_heads WHERE run_id = 'r1' FOR UPDATE")
        other.rollback()
        other.close()
        assert append.result().projected
        assert runs.get(["r1"])["r1"].status is RunStatus.STARTED


def test_writer_that_stands_still_is_ended(
    postgres: PostgresServer, postgres_config: PostgresConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stops between lock and commit doesn't keep others waiting for ever: the server ends it."""
    from daglens.storage.postgres import database as module

    monkeypatch.setattr(module, "IDLE_LIMIT_MS", 200)
    with opened(postgres_config) as (_, events):
        events.append("r1", logged(1))
        stop, go_on = threading.Event(), threading.Event()

        def hold(sql: str, parameters: object) -> None:
            if "COMMIT" in sql and not stop.is_set():
                stop.set()
                go_on.wait(60)

        events.database.on_message = hold
        append = Started(lambda: events.append("r1", steps(2)))
        assert stop.wait(60)
        until(
            lambda: not postgres.execute("SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"), "ended"
        )
        # Another writer goes on in the meantime.
        with opened(replace(postgres_config, postgres_url=Secret(f"{postgres.url}&application_name=b"))) as (_, others):
            assert others.append("r1", logged(3)).first_seq == 2
        go_on.set()
        assert append.result().accepted == 1
        assert texts(events) == [(1, "1"), (2, "3"), (3, "2")]


# ---------------------------------------------------------------- servers that are set up in another way


def test_server_that_stands_still(postgres: PostgresServer, postgres_config: PostgresConfig) -> None:
    """It takes connections and answers nothing: the health says so after a few seconds; one check hangs, not many."""
    with opened(postgres_config) as (runs, events):
        assert runs.health().healthy
        hangs, go_on = threading.Semaphore(0), threading.Event()
        read_state = events.database._state

        def hang(timeout_ms: int = 0) -> object:
            hangs.release()
            go_on.wait(60)
            return read_state(timeout_ms)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("daglens.storage.postgres.health.PATIENCE_S", 0.1)
            patch.setattr(events.database, "_state", hang)
            for _ in range(3):
                assert "did not answer within 0.1 s" in str(runs.health().problem)
            assert hangs.acquire(blocking=False)
            assert not hangs.acquire(blocking=False)
        go_on.set()
        until(lambda: runs.health().healthy, "it answers again")


def test_other_defaults_of_the_database(
    postgres: PostgresServer, postgres_config: PostgresConfig, postgres_schema: str
) -> None:
    """Serializable by default, and commits that wait for no disk: daglens asks for what its promise rests on."""
    postgres.execute("CREATE ROLE odd LOGIN SUPERUSER")
    for setting in ("default_transaction_isolation = 'serializable'", "synchronous_commit = off"):
        postgres.execute(f"ALTER ROLE odd SET {setting}")
    try:
        url = Secret(postgres.url.replace("postgres@", "odd@"))
        with opened(replace(postgres_config, postgres_url=url)) as (runs, events):
            runs.add(NewRun("r1", "nightly"))
            with head_locked(postgres, postgres_schema, make="r1"):
                appends = [Started(lambda batch=batch: events.append("r1", batch)) for batch in (logged(1), steps(2))]  # type: ignore[misc]
                until(lambda: waiting(postgres) == 2, "both wait")
            assert [append.result().accepted for append in appends] == [1, 1]
            rows = events.database.read(
                "SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit')", {}
            )
            assert rows == [("read committed", "on")]
    finally:
        postgres.execute("DROP ROLE odd")
