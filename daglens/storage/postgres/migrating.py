"""Schema and tables, made and brought up to date with Alembic. Imported only when there is something to do.

The migrations are those of SQLite; each reads its schema from `config.attributes`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from io import StringIO

import psycopg2
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from daglens.storage.postgres.config import Address
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.postgres.failures import code_of, unavailable
from daglens.storage.postgres.readiness import SchemaState

SCRIPTS = "daglens.storage:migrations"

# Alembic hangs the migration that runs on a module.
_one_at_a_time = threading.Lock()


def upgrade(address: Address, schema: str) -> None:
    """Run the migrations that the schema lacks, in one transaction, all or none; the schema itself is made if missing.

    Several processes may do so at once: they take turns, and the later ones find nothing to do.

    Raises:
        StorageUnavailable: The server does not answer, or the user may not do it.
    """
    engine = create_engine(
        "postgresql+psycopg2://", creator=lambda: psycopg2.connect(**address.parameters()), poolclass=NullPool
    )
    try:
        with _one_at_a_time, engine.begin() as connection:
            # Held to the end of the transaction, also where that is another server connection's (PgBouncer).
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_lock_number(schema),))
            _make_schema(connection, schema)
            config = _config(schema)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        cause = error.orig if error.orig is not None else error
        hint = ""
        if code_of(cause) == "42501":
            hint = "This user may not make or change its tables. Let the owner run `daglens instance migrate`."
        raise unavailable(address, cause, hint) from error
    except psycopg2.Error as error:
        raise unavailable(address, error) from error
    finally:
        engine.dispose()


def sql(schema: str, revision: str | None) -> str:
    """The statements that `upgrade` would run, for somebody to read and run.

    Args:
        revision: What the schema is at; "" or None: nothing is there yet.
    """
    config = _config(schema)
    config.output_buffer = output = StringIO()
    config.attributes["dialect"] = "postgresql"
    with _one_at_a_time:
        command.upgrade(config, f"{revision}:head" if revision else "head", sql=True)
    begin = "" if revision else f'CREATE SCHEMA IF NOT EXISTS "{schema}";\n\n'
    return begin + output.getvalue()


def _config(schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["schema"] = schema
    return config


def _make_schema(connection: Connection, schema: str) -> None:
    # CREATE SCHEMA IF NOT EXISTS asks for the right to make schemas even where it has nothing to do.
    there = connection.exec_driver_sql("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (schema,))
    if there.first() is None:
        connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')


def _lock_number(schema: str) -> int:
    """A number for this schema among the database's advisory locks."""
    digest = hashlib.sha256(f"daglens migrate {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class Migration:
    """One schema, to be looked at and brought up to date by somebody who may change tables."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    @classmethod
    def of(cls, storages: Iterable[object]) -> list[Migration]:
        """One for each schema that the storages stand on; storages that migrate when they are opened have none."""
        databases = {id(d): d for s in storages if isinstance(d := getattr(s, "database", None), PostgresDatabase)}
        return [cls(database) for database in databases.values()]

    @property
    def place(self) -> str:
        """Where it is, without secrets."""
        return f'{self._database.pool.address}, schema "{self._database.schema}"'

    def state(self) -> SchemaState:
        """What stands there now.

        Raises:
            StorageUnavailable: It can't be reached.
        """
        return self._database.state()

    def upgrade(self) -> SchemaState:
        """Bring it up to date, or set it up; the state afterwards.

        Raises:
            StorageSchemaMismatch: It is newer than this version.
            StorageUnavailable: It can't be reached, is somebody else's, or the user may not do it.
        """
        state = self.state()
        if state.is_empty or state.is_older:
            state.check_server()
            upgrade(self._database.pool.address, self._database.schema)
            state = self.state()
        state.check()
        return state

    def sql(self) -> str:
        """What `upgrade` would run; "" when there is nothing to do.

        Raises:
            StorageSchemaMismatch, StorageUnavailable: As `upgrade`.
        """
        state = self.state()
        if state.is_empty or state.is_older:
            return sql(self._database.schema, state.revision)
        state.check()
        return ""
