"""The tables of SQLite files: one truth in three places, and files of every age."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from daglens.storage.errors import StorageSchemaMismatch, StorageUnavailable
from daglens.storage.records import NewRun
from daglens.storage.sql.revisions import REVISIONS
from daglens.storage.sql.tables import metadata
from daglens.storage.sqlite import SqliteDatabase, SqliteRunStorage, migrating, opening
from tests.storages.children import together

SCHEMA_TEXT = files("daglens.storage.sqlite").joinpath("schema.sql").read_text("utf-8")
MIGRATIONS = Path(str(files("daglens.storage"))) / "migrations"

NEXT_REVISION = f'''
"""Adds a table."""
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{REVISIONS[-1]}"


def upgrade():
    op.create_table("added_later", sa.Column("name", sa.Text))
    FAIL
'''

OPEN_AT_ONCE = """
import sys
from pathlib import Path
from daglens.storage.sqlite import SqliteDatabase, opening

upgrades = []
if len(sys.argv) > 2:
    from daglens.storage.sqlite import migrating

    upgrade = migrating.upgrade
    migrating.upgrade = lambda connection: (upgrade(connection), upgrades.append("upgraded"))
    migrating.SCRIPTS = sys.argv[2]
    opening.REVISIONS = (*opening.REVISIONS, "next")
database = SqliteDatabase(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
health = database.health()
assert health.healthy, health.problem
database.close()
if len(sys.argv) == 2:
    assert not [name for name in sys.modules if name.partition(".")[0] in ("sqlalchemy", "alembic")]
print(upgrades)
"""


def objects(connection: sqlite3.Connection) -> dict[str, str]:
    """The text of every table and index, without regard to white space."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: re.sub(r"\s+", " ", text).replace(" ,", ",").strip() for name, text in rows}


@pytest.fixture
def migrated() -> Iterator[sqlite3.Connection]:
    """A database that the migrations made."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrating.upgrade(connection)
    yield connection
    connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daglens.db"


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations of a later version, which has one more; this process works as that version."""
    folder = tmp_path / "later"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions" / "next.py").write_text(NEXT_REVISION.replace("FAIL", ""))
    monkeypatch.setattr(migrating, "SCRIPTS", str(folder))
    monkeypatch.setattr(opening, "REVISIONS", (*REVISIONS, "next"))
    return folder


def use(path: Path) -> None:
    """Open the file and close it again."""
    database = SqliteDatabase(path)
    try:
        database.read(lambda connection: connection.execute("SELECT last_change FROM run_feed").fetchone())
    finally:
        database.close()


def table_names(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def make_with_a_run(path: Path) -> None:
    """A file of today with one run."""
    database = SqliteDatabase(path)
    SqliteRunStorage(database).add(NewRun("r1", "nightly"))
    database.close()


def test_text_of_a_new_file_is_what_migrations_make(migrated: sqlite3.Connection) -> None:
    """A file made from the packaged text has the tables, indexes and rows that the migrations make."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(SCHEMA_TEXT)
    assert objects(made) == objects(migrated)
    for table in ("alembic_version", "run_feed"):
        kept = "*" if table == "alembic_version" else "only, last_change, length(identity)"
        question = f"SELECT {kept} FROM {table}"
        assert made.execute(question).fetchall() == migrated.execute(question).fetchall()
    made.close()


def test_tables_in_code_are_what_migrations_make(migrated: sqlite3.Connection) -> None:
    """SQLAlchemy's tables and the migrations differ in nothing that Alembic can see."""
    engine = create_engine("sqlite://", creator=lambda: migrated, poolclass=StaticPool, pool_reset_on_return=None)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_known_revisions_are_those_of_the_migrations() -> None:
    """The list that decides without Alembic whether a file is older or newer is Alembic's own."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert list(REVISIONS) == [script.revision for script in reversed(list(scripts.walk_revisions()))]


def test_new_file(path: Path) -> None:
    """A new file is at today's revision, in WAL mode, and can give freed space back."""
    use(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISIONS[-1],)]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_eight_processes_open_a_new_file_at_once(path: Path) -> None:
    """None of them fails, and none needs SQLAlchemy or Alembic."""
    assert together(8, OPEN_AT_ONCE, path) == ["[]\n"] * 8


def test_older_file_is_migrated_when_it_is_opened(path: Path, later: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in it stays."""
    with monkeypatch.context() as before:
        before.setattr(opening, "REVISIONS", REVISIONS)
        make_with_a_run(path)
    database = SqliteDatabase(path)
    assert list(SqliteRunStorage(database).get(["r1"])) == ["r1"]
    database.close()
    assert "added_later" in table_names(path)


def test_eight_processes_open_an_older_file_at_once(path: Path, later: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them migrates it, the others wait; none fails."""
    with monkeypatch.context() as before:
        before.setattr(opening, "REVISIONS", REVISIONS)
        make_with_a_run(path)
    answers = together(8, OPEN_AT_ONCE, path, later)
    assert sorted(answers) == ["['upgraded']\n"] + ["[]\n"] * 7
    assert "added_later" in table_names(path)


def test_migration_that_fails_leaves_nothing(path: Path, later: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as it was, and works again once the migration does."""
    with monkeypatch.context() as before:
        before.setattr(opening, "REVISIONS", REVISIONS)
        make_with_a_run(path)
    script = later / "versions" / "next.py"
    script.write_text(NEXT_REVISION.replace("FAIL", "raise RuntimeError('half way')"))
    with pytest.raises(RuntimeError, match="half way"):
        use(path)
    assert "added_later" not in table_names(path)
    script.write_text(NEXT_REVISION.replace("FAIL", ""))
    use(path)
    assert "added_later" in table_names(path)


@pytest.mark.fault("disk_full_migrate")
def test_disk_is_full_in_a_migration(path: Path, later: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in a sentence, like everything that a file may say."""
    with monkeypatch.context() as before:
        before.setattr(opening, "REVISIONS", REVISIONS)
        make_with_a_run(path)
    connect = opening.connect

    def connect_to_full_disk(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
        connection = connect(path, busy_timeout_s)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(opening, "connect", connect_to_full_disk)
    with pytest.raises(StorageUnavailable, match="Its disk is full"):
        use(path)
    monkeypatch.setattr(opening, "connect", connect)
    use(path)
    assert "added_later" in table_names(path)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_file_of_every_age_is_brought_up_to_date(path: Path, revision: str) -> None:
    """A file that an earlier version made has today's tables when it was opened, and what was in it."""
    config = Config()
    config.set_main_option("script_location", migrating.SCRIPTS)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        identity = connection.execute(text("SELECT identity FROM run_feed")).scalar()
    engine.dispose()
    use(path)
    assert table_names(path) == set(metadata.tables) | {"alembic_version"}
    database = SqliteDatabase(path)
    runs = SqliteRunStorage(database)
    runs.add(NewRun("r", "p"))
    assert list(runs.changes(f"{identity}-0", 10).changed) == ["r"], "a position of the earlier version stays good"
    assert runs.lease("l", "a", 60)
    database.close()


def test_file_without_a_revision_is_migrated_from_the_first(path: Path) -> None:
    """Alembic's empty table counts as older than every revision."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.close()
    use(path)
    assert "events" in table_names(path)


def test_newer_file_is_refused(path: Path) -> None:
    """With a sentence that says so; and it isn't touched."""
    make_with_a_run(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StorageSchemaMismatch, match=r"revision 9999.*Upgrade daglens"):
        use(path)
    database = SqliteDatabase(path)
    health = database.health()
    assert not health.healthy
    assert "9999" in (health.problem or "")
    database.close()


@pytest.mark.parametrize("tables", [("customers",), ("alembic_version", "customers")])
def test_database_of_something_else_is_refused(path: Path, tables: tuple[str, ...]) -> None:
    """Another program's tables are left alone."""
    connection = sqlite3.connect(path)
    for table in tables:
        connection.execute(f"CREATE TABLE {table} (version_num TEXT)")
    connection.close()
    with pytest.raises(StorageUnavailable, match="SQLite database of something else"):
        use(path)
    assert table_names(path) == set(tables)


def test_creation_that_is_killed_is_done_again(path: Path) -> None:
    """A file that has no tables yet, in WAL mode or not, counts as new."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    use(path)
    assert "runs" in table_names(path)
