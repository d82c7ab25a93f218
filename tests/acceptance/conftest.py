"""Servers as programs, a PostgreSQL, and the user that docs/postgres.md makes for daglens's servers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.programs import Serve, servers
from tests.docs.snippets import marked
from tests.storages.postgres_server import PostgresServer, postgres, postgres_schema

__all__ = ["postgres", "postgres_schema"]

ROLE = "daglens_server"

_numbers = itertools.count(1)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `daglens serve` on an instance's folder; it is asked to end after the test."""
    with servers(tmp_path) as start:
        yield start


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"acceptance_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name}")
    yield f"postgresql://postgres@/{name}?host={postgres.folder}"
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class TeamHome:
    """The folder of an instance on PostgreSQL that any number of processes open.

    Attributes:
        schema: Where its tables are.
    """

    path: Path
    schema: str
    _url: str

    def write(self, daglens: str = "{}", **storage: object) -> Path:
        """Write its dagster.yaml, with further settings of the storage; the folder."""
        settings = {"postgres_url": f"'{self._url}'", "schema_name": self.schema, **storage}
        lines = [f"    {key}: {value}" for key, value in settings.items()]
        text = "\n".join(["storage:", "  postgres:", *lines, f"daglens: {daglens}", ""])
        (self.path / "dagster.yaml").write_text(text)
        return self.path


@pytest.fixture
def team_home(postgres: PostgresServer, postgres_schema: str, tmp_path: Path) -> Iterator[TeamHome]:
    """An instance whose tables are there, reached by a user with the rights that docs/postgres.md names and no
    other."""
    (block,) = marked("docs/postgres.md", "rights")
    postgres.execute(f"CREATE ROLE {ROLE} LOGIN")
    try:
        postgres.execute(re.sub(r"\bdaglens(?=\.| TO)", postgres_schema, block.text))
        path = tmp_path / "home"
        path.mkdir()
        home = TeamHome(path, postgres_schema, f"postgresql://{ROLE}@/postgres?host={postgres.folder}")
        home.write()
        yield home
    finally:
        postgres.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
