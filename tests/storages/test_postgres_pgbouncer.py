"""PgBouncer in transaction mode before PostgreSQL: everything works but notifications, which is noticed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from daglens.storage.errors import StorageUnavailable
from daglens.storage.postgres import (
    PostgresConfig,
    PostgresDatabase,
    PostgresEventLogStorage,
    PostgresRunStorage,
    listening,
)
from daglens.storage.records import EventDraft, EventQuery, NewRun, RunFilter
from daglens.testing import Clock, EventLogStorageConformance, RunStorageConformance
from daglens.testing.threads import together
from tests.storages.children import outputs, start
from tests.storages.postgres_server import PostgresServer, config_for, drop, empty, set_up
from tests.storages.postgres_waiting import until
from tests.storages.test_postgres_processes import WRITE

pytestmark = pytest.mark.system

SERVER_CONNECTIONS = 3

CONFIG = """
[databases]
* = host={host} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
query_wait_timeout = 10
logfile = {folder}/log
pidfile = {folder}/pid
"""


@pytest.fixture(scope="module")
def pooler(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a PgBouncer with three connections to the server."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    with tempfile.TemporaryDirectory(prefix="daglens-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        file = folder / "pgbouncer.ini"
        file.write_text(
            CONFIG.format(host=postgres.folder, port=port, folder=folder, size=SERVER_CONNECTIONS), encoding="utf-8"
        )
        (folder / "users").write_text('"postgres" ""\n', encoding="utf-8")
        command = [program, "-q", str(file)]
        if os.geteuid() == 0:
            # It refuses root; and only the server's own user gets to the server's socket.
            shutil.chown(folder, "pgserver")
            command[1:1] = ["-u", "pgserver"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            try:
                psycopg2.connect(url, connect_timeout=5).close()
            except psycopg2.OperationalError:
                return False
            return True

        try:
            until(answers, "PgBouncer answers")
            yield url
        finally:
            running.terminate()
            running.wait(30)


@pytest.fixture(scope="module")
def schema(postgres: PostgresServer) -> Iterator[str]:
    set_up(postgres, "pooled")
    yield "pooled"
    drop(postgres, ["pooled"])


@pytest.fixture
def databases(
    postgres: PostgresServer, pooler: str, schema: str
) -> Iterator[tuple[PostgresDatabase, PostgresDatabase]]:
    """Two databases, one through PgBouncer and one past it: each sees what the other does."""
    both = (PostgresDatabase(config_for(pooler, schema)), PostgresDatabase(config_for(postgres.url, schema)))
    yield both
    for database in both:
        database.close()
    empty(postgres, schema)


class TestRunStorageThroughPgBouncer(RunStorageConformance):
    @pytest.fixture
    def storage(self, databases: tuple[PostgresDatabase, PostgresDatabase]) -> PostgresRunStorage:
        return PostgresRunStorage(databases[0], clock=Clock())

    @pytest.fixture
    def second(self, databases: tuple[PostgresDatabase, PostgresDatabase]) -> PostgresRunStorage:
        return PostgresRunStorage(databases[1], clock=Clock())


class TestEventLogStorageThroughPgBouncer(EventLogStorageConformance):
    @pytest.fixture
    def storage(self, databases: tuple[PostgresDatabase, PostgresDatabase]) -> PostgresEventLogStorage:
        return PostgresEventLogStorage(databases[0])

    @pytest.fixture
    def second(self, databases: tuple[PostgresDatabase, PostgresDatabase]) -> PostgresEventLogStorage:
        return PostgresEventLogStorage(databases[1])


def test_empty_database_is_set_up(postgres: PostgresServer, pooler: str) -> None:
    """Schema and tables are made through it, by several at once."""
    config = config_for(pooler, "made_through", should_autocreate_tables=True)

    def use(number: int) -> bool:
        database = PostgresDatabase(config)
        try:
            return PostgresRunStorage(database).add(NewRun(f"r{number}", "nightly")).created
        finally:
            database.close()

    try:
        assert together([lambda number=number: use(number) for number in range(4)]) == [True] * 4  # type: ignore[misc]
    finally:
        drop(postgres, ["made_through"])


def test_more_clients_than_connections(pooler: str, schema: str, postgres: PostgresServer) -> None:
    """Six processes share three connections of the server; the log is dense and each event there once."""
    children = [start(WRITE, pooler, schema, f"w{n}", 1000) for n in range(6)]
    for child in children:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    outputs(children)
    database = PostgresDatabase(config_for(pooler, schema))
    try:
        events = PostgresEventLogStorage(database)
        seqs = [
            event.seq
            for start_ in range(0, 6000, 1000)
            for event in events.read([EventQuery("shared", start_, 1000)])[0].events
        ]
        assert seqs == list(range(1, 6001))
    finally:
        database.close()
        empty(postgres, schema)


def test_settings_of_one_client_are_not_anothers(postgres: PostgresServer, pooler: str, schema: str) -> None:
    """A short timeout holds for the calls of the storage that asked for it, whose connection others use in turn."""
    short = PostgresDatabase(config_for(pooler, schema, statement_timeout_s=0.3, pool_size=1))
    patient = PostgresDatabase(config_for(f"{pooler}?application_name=b", schema, pool_size=1))
    try:
        for _ in range(2 * SERVER_CONNECTIONS):
            PostgresRunStorage(short).page(RunFilter())
            patient.read("SELECT pg_sleep(0.4)", {})
        with pytest.raises(StorageUnavailable, match="statement_timeout_s"):
            short.read("SELECT pg_sleep(10)", {})
    finally:
        short.close()
        patient.close()


def test_no_statement_is_prepared(databases: tuple[PostgresDatabase, PostgresDatabase]) -> None:
    """Its connections are recognised as none of the server's sessions; past it, they are."""
    prepared = []
    for number, database in enumerate(databases):
        seen: list[str] = []
        database.on_message = lambda sql, parameters, seen=seen: seen.append(sql)
        for n in range(2):
            PostgresEventLogStorage(database).append(f"r{number}", [EventDraft("LOG_MESSAGE", event_id=str(n))])
        database.on_message = None
        prepared.append(any("PREPARE" in sql for sql in seen))
    assert prepared == [False, True]


def test_mode_is_poll(pooler: str, schema: str, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer) -> None:
    """LISTEN is taken and never answered: the mode says POLL, and own appends are hinted all the same."""
    monkeypatch.setattr(listening, "ECHO_PATIENCE_S", 0.2)
    monkeypatch.setattr(listening, "_LONGEST_PAUSE_S", 0.05)
    database = PostgresDatabase(config_for(pooler, schema))
    events = PostgresEventLogStorage(database)
    tries = 0
    echo = database.listener._echo

    def counted(channel: str) -> None:
        nonlocal tries
        echo(channel)
        tries += 1

    monkeypatch.setattr(database.listener, "_echo", counted)
    told: list[str | None] = []
    watch = events.watch(told.append)
    try:

        def tried() -> bool:
            assert events.live_mode == "POLL"
            return tries >= 4

        until(tried, "it has asked for four echoes")
        events.append("r1", [EventDraft("LOG_MESSAGE")])
        assert "r1" in told
    finally:
        watch.stop()
        database.close()
        empty(postgres, schema)


def test_configuration_needs_nothing_special(pooler: str) -> None:
    """No startup parameter that PgBouncer refuses."""
    database = PostgresDatabase(PostgresConfig(postgres_url=config_for(pooler, "x").postgres_url))
    try:
        assert database.state().server_version >= 120000
    finally:
        database.close()
