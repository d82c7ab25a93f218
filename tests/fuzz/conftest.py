"""Servers to be fuzzed: SQLite with files, and PostgreSQL with a bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daglens.instance import Instance
from tests.fuzz.served import SECRETS, Fuzzed, dagster_yaml, fuzzed
from tests.storages.object_stores import make_bucket, moto
from tests.storages.postgres_server import PostgresServer, postgres

__all__ = ["postgres"]


@pytest.fixture(scope="module")
def on_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """SQLite and files; everything that was seen of it is looked through at the end of the module."""
    home = tmp_path_factory.mktemp("home")
    dagster_yaml(home)
    with Instance.open(home=home) as instance, fuzzed(instance, home) as served:
        yield served
        served.check_everything()


@pytest.fixture(scope="module")
def on_postgres(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """PostgreSQL and an S3 bucket; ditto."""
    home = tmp_path_factory.mktemp("home")
    postgres.execute("CREATE DATABASE fuzzed")
    with postgres.proxy() as proxy, moto() as bucket:
        make_bucket(bucket, "logs")
        password = SECRETS["database"]
        database = f"postgresql://postgres:{password}@127.0.0.1:{proxy.port}/fuzzed"
        dagster_yaml(home, database=f"{database}?sslpassword={SECRETS['database_parameter']}", bucket=bucket.url)
        with Instance.open(home=home) as instance, fuzzed(instance, home) as served:
            yield served
            served.check_everything()
