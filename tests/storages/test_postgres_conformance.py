"""The Postgres storages keep the contracts' promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daglens.storage.postgres import PostgresConfig, PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.postgres.pool import ConnectionPool
from daglens.testing import (
    Clock,
    EventLogStorageConformance,
    EventTombstoneExpiry,
    RunLeases,
    RunStorageConformance,
    RunTombstoneExpiry,
)
from tests.storages.postgres_server import PostgresServer, config_for, drop, empty, set_up


@pytest.fixture(scope="module")
def configs(postgres: PostgresServer) -> Iterator[tuple[PostgresConfig, PostgresConfig]]:
    """One schema by two addresses, whose connections outlive a test."""
    set_up(postgres, "conformance")
    both = (
        config_for(postgres.url, "conformance"),
        config_for(f"{postgres.url}&application_name=second", "conformance"),
    )
    pools = [ConnectionPool.shared(config) for config in both]
    yield both
    for pool in pools:
        pool.release()
    drop(postgres, ["conformance"])


@pytest.fixture
def databases(
    postgres: PostgresServer, configs: tuple[PostgresConfig, PostgresConfig]
) -> Iterator[tuple[PostgresDatabase, PostgresDatabase]]:
    """Two databases on one empty schema that share nothing else, as two processes have them."""
    both = (PostgresDatabase(configs[0]), PostgresDatabase(configs[1]))
    yield both
    for database in both:
        database.close()
    empty(postgres, "conformance")


class TestPostgresRunStorage(RunStorageConformance, RunTombstoneExpiry, RunLeases):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def storage(self, databases: tuple[PostgresDatabase, PostgresDatabase], clock: Clock) -> PostgresRunStorage:
        return PostgresRunStorage(databases[0], clock=clock)

    @pytest.fixture
    def second(self, databases: tuple[PostgresDatabase, PostgresDatabase], clock: Clock) -> PostgresRunStorage:
        return PostgresRunStorage(databases[1], clock=clock)


class TestPostgresEventLogStorage(EventLogStorageConformance, EventTombstoneExpiry):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def storage(self, databases: tuple[PostgresDatabase, PostgresDatabase], clock: Clock) -> PostgresEventLogStorage:
        return PostgresEventLogStorage(databases[0], clock=clock)

    @pytest.fixture
    def second(self, databases: tuple[PostgresDatabase, PostgresDatabase], clock: Clock) -> PostgresEventLogStorage:
        return PostgresEventLogStorage(databases[1], clock=clock)
