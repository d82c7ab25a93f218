"""`daglens instance migrate` on a PostgreSQL, and where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from daglens.cli import migrate
from daglens.storage.errors import StorageSchemaMismatch, StorageUnavailable
from daglens.storage.sql.revisions import REVISIONS
from tests.storages.postgres_server import PostgresServer, drop, postgres

__all__ = ["postgres"]

SCHEMA = "by_command"

YAML = """
storage:
  postgres:
    postgres_url: {url}
    schema_name: by_command
    should_autocreate_tables: false
"""


@pytest.fixture
def home(postgres: PostgresServer, tmp_path: Path) -> Iterator[Path]:
    """An instance on a database that is not set up."""
    (tmp_path / "dagster.yaml").write_text(YAML.format(url=postgres.url), encoding="utf-8")
    yield tmp_path
    drop(postgres, [SCHEMA])


def run(home: Path, *arguments: str) -> Result:
    """The command on this instance."""
    app = typer.Typer()
    migrate.register(app)
    return CliRunner().invoke(app, [*arguments, "--instance-home", str(home)])


def test_set_up_and_again(home: Path) -> None:
    """The first time it sets up, and says so; the second time there is nothing to do. `--check` knows both."""
    before = run(home, "--check")
    assert before.exit_code == 1
    assert f'schema "{SCHEMA}": is not set up; `daglens instance migrate` sets it up.' in before.output
    first = run(home)
    assert first.exit_code == 0
    assert f"was not set up, now at revision {REVISIONS[-1]}." in first.output
    again = run(home)
    assert again.exit_code == 0
    assert f"up to date already, at revision {REVISIONS[-1]}." in again.output
    after = run(home, "--check")
    assert after.exit_code == 0
    assert f"up to date, at revision {REVISIONS[-1]}." in after.output
    printed = run(home, "--sql")
    assert (printed.exit_code, printed.stdout) == (0, "")
    assert "up to date; there are no statements to run." in printed.stderr


def test_printed_statements(home: Path, postgres: PostgresServer) -> None:
    """`--sql` changes nothing; run by somebody else, what it prints sets up."""
    printed = run(home, "--sql")
    assert printed.exit_code == 0
    assert run(home, "--check").exit_code == 1
    postgres.execute(printed.output)
    assert run(home, "--check").exit_code == 0


def test_newer_schema(home: Path, postgres: PostgresServer) -> None:
    """Refused by every form of it."""
    assert run(home).exit_code == 0
    postgres.execute(f"UPDATE {SCHEMA}.alembic_version SET version_num = '9999'")
    for arguments in ((), ("--check",), ("--sql",)):
        answer = run(home, *arguments)
        assert isinstance(answer.exception, StorageSchemaMismatch)


def test_server_that_does_not_answer(tmp_path: Path) -> None:
    """A sentence without the URL's secrets."""
    url = "postgresql://me:planted@127.0.0.1:1/x"
    (tmp_path / "dagster.yaml").write_text(YAML.format(url=url), encoding="utf-8")
    answer = run(tmp_path)
    assert isinstance(answer.exception, StorageUnavailable)
    assert "planted" not in str(answer.exception)


def test_instance_without_postgres(tmp_path: Path) -> None:
    """Nothing to do; with `--sql` nothing is on standard output that could be run."""
    assert "Nothing to do" in run(tmp_path).output
    assert run(tmp_path, "--check").exit_code == 0
    assert run(tmp_path, "--sql").stdout == ""
