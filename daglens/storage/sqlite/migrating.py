"""Bringing a SQLite file of an older schema up to date with Alembic. Imported only when there is one."""

from __future__ import annotations

import sqlite3

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

SCRIPTS = "daglens.storage:migrations"


def upgrade(connection: sqlite3.Connection) -> None:
    """Run the migrations that `connection`'s database lacks, in one transaction, all or none.

    The caller holds the file lock; the connection is in autocommit mode (`isolation_level=None`).

    Raises:
        sqlite3.Error: What the file says.
    """
    # The connection stays the caller's: this pool neither closes nor resets it.
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool, pool_reset_on_return=None)

    # The driver would begin a transaction only before the first row is written, and commit around every CREATE.
    @event.listens_for(engine, "begin")
    def begin(begun: object) -> None:
        connection.execute("BEGIN IMMEDIATE")

    try:
        with engine.connect() as joined, joined.begin():
            config = Config()
            config.set_main_option("script_location", SCRIPTS)
            config.attributes["connection"] = joined
            config.attributes["schema"] = None
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise error.orig or error from error
