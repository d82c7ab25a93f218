"""The Postgres schema: made when it is empty, migrated when its owner says so, never guessed at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine

from daglens.config.secrets import Secret
from daglens.storage.errors import StorageSchemaMismatch, StorageUnavailable
from daglens.storage.postgres import (
    PostgresConfig,
    PostgresDatabase,
    PostgresEventLogStorage,
    PostgresRunStorage,
    migrating,
)
from daglens.storage.postgres.migrating import Migration
from daglens.storage.records import EventDraft, EventQuery, NewRun, RunFilter, RunState, RunStatus, TagFilter
from daglens.storage.sql.revisions import REVISIONS
from daglens.storage.sql.tables import metadata
from daglens.testing.threads import together
from tests.docs.snippets import marked
from tests.storages import children
from tests.storages.postgres_server import PostgresServer, config_for, drop

MIGRATIONS = Path(migrating.__file__).parents[1] / "migrations"


@pytest.fixture
def schema(postgres: PostgresServer) -> Iterator[str]:
    """The name of a schema that is not there yet."""
    name = "Not_there_yet"
    yield name
    drop(postgres, [name])


@contextmanager
def database(config: PostgresConfig) -> Iterator[PostgresDatabase]:
    """A database object that shares nothing with others but the pool."""
    opened = PostgresDatabase(config)
    try:
        yield opened
    finally:
        opened.close()


def outline(postgres: PostgresServer, schema: str) -> list[tuple[str, ...]]:
    """Every column, index and constraint of a schema, and the revision."""
    where = {"schema": schema}
    queries = (
        "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = %(schema)s ORDER BY 1, 2",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %(schema)s ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(c.oid) FROM pg_constraint c "
        "JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = %(schema)s ORDER BY 1",
        f'SELECT version_num FROM "{schema}".alembic_version',
    )
    rows = [row for query in queries for row in postgres.execute(query, where)]
    return [tuple(re.sub(rf'"?{schema}"?', "", str(value)) for value in row) for row in rows]


def test_empty_database_is_set_up_at_first_use(postgres: PostgresServer, schema: str) -> None:
    """The first call makes schema and tables, all of them in it and none outside."""
    before = postgres.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'public'")
    with database(config_for(postgres.url, schema, should_autocreate_tables=True)) as opened:
        assert PostgresRunStorage(opened).add(NewRun("r1", "nightly")).created
    assert postgres.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'public'") == before
    assert postgres.execute(f'SELECT version_num FROM "{schema}".alembic_version') == [(REVISIONS[-1],)]


def test_not_when_that_is_turned_off(postgres: PostgresServer, schema: str) -> None:
    """`should_autocreate_tables: false`: a sentence says what to run, and nothing is made."""
    with database(config_for(postgres.url, schema, should_autocreate_tables=False)) as opened:
        with pytest.raises(StorageUnavailable, match=r"is not set up\. Run `daglens instance migrate`"):
            PostgresRunStorage(opened).page(RunFilter())
        assert "is not set up" in str(opened.health().problem)
    assert postgres.execute("SELECT 1 FROM pg_namespace WHERE nspname = %(name)s", {"name": schema}) == []


def test_threads_set_it_up_at_once(postgres: PostgresServer, schema: str) -> None:
    """Five database objects meet at an empty database: none fails, and it is made once."""
    config = config_for(postgres.url, schema, should_autocreate_tables=True, pool_size=5)

    def use(number: int) -> bool:
        with database(config) as opened:
            return PostgresRunStorage(opened).add(NewRun(f"r{number}", "nightly")).created

    assert together([partial(use, n) for n in range(5)]) == [True] * 5
    assert postgres.execute(f'SELECT count(*) FROM "{schema}".run_feed') == [(1,)]


SET_UP = """
import sys
from daglens.config.secrets import Secret
from daglens.storage.postgres import PostgresConfig, PostgresDatabase

database = PostgresDatabase(PostgresConfig(postgres_url=Secret(sys.argv[1]), schema_name=sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
health = database.health()
assert health.healthy, health.problem
database.close()
"""


def test_processes_set_it_up_at_once(postgres: PostgresServer, schema: str) -> None:
    """The same from six processes."""
    children.together(6, SET_UP, postgres.url, schema)
    assert postgres.execute(f'SELECT count(*) FROM "{schema}".run_feed') == [(1,)]


def test_tables_in_code_are_what_migrations_make(postgres: PostgresServer, schema: str) -> None:
    """SQLAlchemy's tables and the migrations differ in nothing that Alembic can see but the one index that says so."""
    config = config_for(postgres.url, schema)
    migrating.upgrade(config.address(), schema)
    expected = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(expected, schema=schema)

    def ours(object: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:
        return name not in ("ix_run_tags_value", "alembic_version")

    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(postgres.url))
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": False,
            "include_schemas": True,
            "include_name": lambda name, kind, parents: kind != "schema" or name == schema,
            "include_object": ours,
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=options), expected) == []
    engine.dispose()
    ((definition,),) = postgres.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = %(schema)s AND indexname = 'ix_run_tags_value'",
        {"schema": schema},
    )
    assert '(key, "left"(value, 100), created_at_us, run_id)' in definition


def test_printed_statements_make_the_same(postgres: PostgresServer, schema: str, postgres_schema: str) -> None:
    """What `--sql` prints, run by hand (the test's own schema was), makes what the migration makes."""
    migrating.upgrade(config_for(postgres.url, schema).address(), schema)
    assert outline(postgres, schema) == outline(postgres, postgres_schema)


def test_known_revisions_are_those_of_the_migrations() -> None:
    """The list that decides what is older or newer is Alembic's own."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert list(REVISIONS) == [script.revision for script in reversed(list(scripts.walk_revisions()))]


# ---------------------------------------------------------------- older, newer, somebody else's


def test_newer_schema_is_told(postgres: PostgresServer, postgres_config: PostgresConfig, postgres_schema: str) -> None:
    """A revision that this version doesn't know: every call and the health say so, and nothing is changed."""
    postgres.execute(f"UPDATE {postgres_schema}.alembic_version SET version_num = '9999'")
    with database(postgres_config) as opened:
        with pytest.raises(StorageSchemaMismatch, match=r"at revision 9999; this version knows .* Upgrade daglens\."):
            PostgresEventLogStorage(opened).append("r1", [EventDraft("LOG_MESSAGE")])
        assert "Upgrade daglens." in str(opened.health().problem)
        (migration,) = Migration.of([PostgresEventLogStorage(opened)])
        for act in (migration.upgrade, migration.sql):
            with pytest.raises(StorageSchemaMismatch):
                act()
    assert postgres.execute(f"SELECT version_num FROM {postgres_schema}.alembic_version") == [("9999",)]


def test_older_schema_is_told_and_then_migrated(
    postgres: PostgresServer, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server waits for `daglens instance migrate`, even when it may make tables; what was stored stays."""
    config = config_for(postgres.url, schema, should_autocreate_tables=True)
    with database(config) as opened:
        PostgresRunStorage(opened).add(NewRun("r1", "nightly"))
    later = _with_a_next_revision(tmp_path)
    monkeypatch.setattr("daglens.storage.postgres.readiness.REVISIONS", (*REVISIONS, "next"))
    monkeypatch.setattr(migrating, "SCRIPTS", str(later))
    with database(config) as opened:
        runs = PostgresRunStorage(opened)
        with pytest.raises(StorageSchemaMismatch, match=r"needs next\. Run `daglens instance migrate`"):
            runs.get(["r1"])
        (migration,) = Migration.of([runs, PostgresEventLogStorage(opened)])
        printed = migration.sql()
        assert "added_later" in printed
        assert "run_feed" not in printed
        assert migration.upgrade().is_current
        assert migration.sql() == ""
        # Without a restart: the object that refused works now.
        assert list(runs.get(["r1"])) == ["r1"]
        assert opened.health().healthy


def _with_a_next_revision(folder: Path) -> Path:
    """The migrations and one more."""
    copy = folder / "migrations"
    (copy / "versions").mkdir(parents=True)
    for path in (*MIGRATIONS.glob("*.*"), *MIGRATIONS.glob("versions/*.py")):
        (copy / path.relative_to(MIGRATIONS)).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (copy / "versions" / "next.py").write_text(
        '"""Adds a table."""\nimport sqlalchemy as sa\nfrom alembic import context, op\n\n'
        f'revision = "next"\ndown_revision = "{REVISIONS[-1]}"\n\n\ndef upgrade():\n'
        '    schema = context.config.attributes.get("schema")\n'
        '    op.create_table("added_later", sa.Column("name", sa.Text), schema=schema)\n',
        encoding="utf-8",
    )
    return copy


def test_schema_that_becomes_newer_while_a_server_runs(
    postgres: PostgresServer, postgres_config: PostgresConfig, postgres_schema: str
) -> None:
    """The health says so as soon as it is asked, and from then on every call."""
    with database(postgres_config) as opened:
        runs = PostgresRunStorage(opened)
        assert runs.health().healthy
        postgres.execute(f"UPDATE {postgres_schema}.alembic_version SET version_num = '9999'")
        assert "Upgrade daglens." in str(runs.health().problem)
        with pytest.raises(StorageSchemaMismatch):
            runs.get(["r1"])


def test_somebody_elses_schema_is_left_alone(postgres: PostgresServer, schema: str) -> None:
    """Tables of another program, its own alembic_version among them: a sentence, and nothing is changed."""
    postgres.execute(
        f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}".alembic_version (version_num text); '
        f'INSERT INTO "{schema}".alembic_version VALUES (\'7e2f3204cf8e\'); CREATE TABLE "{schema}".runs (id int)'
    )
    before = outline(postgres, schema)
    with database(config_for(postgres.url, schema, should_autocreate_tables=True)) as opened:
        with pytest.raises(StorageUnavailable, match=r"belongs to something else .* Choose another schema_name"):
            PostgresRunStorage(opened).get(["r1"])
        (migration,) = Migration.of([PostgresRunStorage(opened)])
        with pytest.raises(StorageUnavailable, match="belongs to something else"):
            migration.upgrade()
    assert outline(postgres, schema) == before


def test_tables_that_are_gone_are_made_again(postgres: PostgresServer, schema: str) -> None:
    """Somebody drops the schema under a running server: the next call sets it up, as the first one did."""
    with database(config_for(postgres.url, schema, should_autocreate_tables=True)) as opened:
        runs = PostgresRunStorage(opened)
        runs.add(NewRun("r1", "nightly"))
        drop(postgres, [schema])
        assert runs.add(NewRun("r1", "nightly")).created


def test_other_encodings_are_refused(postgres: PostgresServer) -> None:
    """A database that can't hold every text is told before anything is made in it."""
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = postgres.url.replace("/postgres?", "/latin?")
    try:
        told = pytest.raises(StorageUnavailable, match="encoding of this database is LATIN1")
        with database(PostgresConfig(postgres_url=Secret(url))) as opened, told:
            PostgresRunStorage(opened).get(["r1"])
    finally:
        postgres.execute("DROP DATABASE latin WITH (FORCE)")


# ---------------------------------------------------------------- rights


@pytest.fixture
def role(postgres: PostgresServer, postgres_schema: str) -> Iterator[str]:
    """A user with the rights that docs/postgres.md lists, and none besides."""
    (block,) = marked("docs/postgres.md", "rights")
    postgres.execute("CREATE ROLE daglens_server LOGIN")
    postgres.execute(re.sub(r"\bdaglens(?=\.| TO)", postgres_schema, block.text))
    yield "daglens_server"
    postgres.execute("DROP OWNED BY daglens_server; DROP ROLE daglens_server")


def test_documented_rights_are_enough(postgres: PostgresServer, postgres_config: PostgresConfig, role: str) -> None:
    """A server's user with exactly these rights can do everything that a server and a recorder do."""
    url = Secret(postgres.url.replace("postgres@", f"{role}@"))
    with database(replace(postgres_config, postgres_url=url, should_autocreate_tables=True)) as opened:
        runs, events = PostgresRunStorage(opened), PostgresEventLogStorage(opened)
        watch = events.watch(lambda run_id: None)
        for run_id in ("r1", "r2"):
            runs.add(NewRun(run_id, "nightly", tags=(("a", "1"),)))
            events.append(run_id, [EventDraft("RUN_START"), EventDraft("STEP_START", step_key="s")])
            events.append(run_id, [EventDraft("LOG_MESSAGE", event_id="1")])
            events.append(run_id, [EventDraft("LOG_MESSAGE", event_id="1")])
        position = runs.changes(None, 10).position
        runs.add_tags("r1", [("a", "2")])
        runs.heartbeat("r1", 60)
        assert runs.lease("upkeep", "me", 60)
        assert runs.lease("upkeep", "me", 0)
        runs.project("r1", RunState(RunStatus.SUCCESS, 1, 2, state_seq=9))
        assert len(runs.page(RunFilter(tags=[TagFilter("a")])).runs) == 2
        assert (runs.tag_keys("", 9), runs.tag_values("a", "", 9), runs.pipeline_names("", 9)) == (
            ["a"],
            ["1", "2"],
            ["nightly"],
        )
        assert len(events.read([EventQuery("r1")])[0].events) == 3
        assert events.steps(["r1"]) and events.heads(["r1"])
        events.close_runs(["r1"])
        assert events.delete("r1") == 3
        assert runs.delete(["r1"]) == 1
        assert list(runs.changes(position, 10).deleted) == ["r1"]
        assert runs.health().healthy and events.health().healthy
        watch.stop()


def test_missing_right_is_told(postgres: PostgresServer, schema: str, role: str) -> None:
    """A user who may not set up is told who may."""
    url = postgres.url.replace("postgres@", f"{role}@")
    told = pytest.raises(StorageUnavailable, match="Let the owner run `daglens instance migrate`")
    with database(config_for(url, schema, should_autocreate_tables=True)) as opened, told:
        PostgresRunStorage(opened).get(["r1"])


def test_owner_without_the_right_to_make_schemas(postgres: PostgresServer, schema: str) -> None:
    """An empty schema of one's own is enough to set up."""
    postgres.execute(f'CREATE ROLE owner LOGIN; CREATE SCHEMA "{schema}" AUTHORIZATION owner')
    try:
        url = postgres.url.replace("postgres@", "owner@")
        with database(config_for(url, schema, should_autocreate_tables=True)) as opened:
            assert PostgresRunStorage(opened).add(NewRun("r1", "nightly")).created
    finally:
        drop(postgres, [schema])
        postgres.execute("DROP ROLE owner")
