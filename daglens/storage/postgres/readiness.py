"""Whether a schema is there, is ours and is of today; and setting up an empty one."""

from __future__ import annotations

from dataclasses import dataclass

from daglens.storage.errors import StorageSchemaMismatch, StorageUnavailable
from daglens.storage.postgres.config import Address
from daglens.storage.postgres.pool import Connection, connect
from daglens.storage.sql.revisions import REVISIONS

_STATE = """SET LOCAL statement_timeout = %(timeout)s;
SELECT current_setting('server_encoding'), pg_is_in_recovery(), current_setting('server_version_num')::int,
    current_setting('default_transaction_isolation'), current_setting('synchronous_commit'),
    to_regclass(%(versions)s) IS NOT NULL, to_regclass(%(heads)s) IS NOT NULL, (
        SELECT min(c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> 'alembic_version'
    )"""

OLDEST_SERVER = 120000
"""PostgreSQL 12: the oldest whose statements are all known here."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What stands in a database.

    Attributes:
        revision: Alembic's, "" before the first; None where daglens has nothing.
        stranger: A table of somebody else's in the schema.
        standby: The server takes no writes.
        isolation, synchronous_commit: What the database has by default.
    """

    address: Address
    schema: str
    revision: str | None
    stranger: str | None
    encoding: str
    standby: bool
    server_version: int
    isolation: str
    synchronous_commit: str

    @property
    def is_empty(self) -> bool:
        """True when the schema could be set up."""
        return self.revision is None and self.stranger is None

    @property
    def is_current(self) -> bool:
        """True when this version of daglens works on it."""
        return self.revision == REVISIONS[-1]

    @property
    def is_older(self) -> bool:
        """True when `daglens instance migrate` brings it up to date."""
        return self.revision is not None and self.revision in ("", *REVISIONS[:-1])

    def check(self) -> None:
        """Return when the schema is the one to work on.

        Raises:
            StorageSchemaMismatch: It is older or newer.
            StorageUnavailable: It is missing or somebody else's, or the server is none that can be used.
        """
        where = f'{self.address}, schema "{self.schema}"'
        self.check_server()
        if self.is_current:
            return
        if self.is_older:
            raise StorageSchemaMismatch(
                f"{where} is at revision {self.revision or '(none)'}; this version needs {REVISIONS[-1]}. "
                "Run `daglens instance migrate`."
            )
        if self.revision is not None:
            raise StorageSchemaMismatch(
                f"{where} is at revision {self.revision}; this version knows {REVISIONS[-1]} and older. "
                "Upgrade daglens."
            )
        if self.stranger is not None:
            raise StorageUnavailable(
                f"{where} belongs to something else (it has a table {self.stranger!r}). Choose another schema_name."
            )
        raise StorageUnavailable(
            f"{where} is not set up. Run `daglens instance migrate`, or let it be done with "
            "should_autocreate_tables: true."
        )

    def check_server(self) -> None:
        """Return when the server and the database can be used.

        Raises:
            StorageUnavailable: It can't.
        """
        if self.server_version < OLDEST_SERVER:
            raise StorageUnavailable(
                f"{self.address}: this is PostgreSQL {self.server_version // 10000}; "
                f"{OLDEST_SERVER // 10000} or newer is needed."
            )
        if self.encoding != "UTF8":
            raise StorageUnavailable(
                f"{self.address}: the encoding of this database is {self.encoding}; daglens needs one made with "
                "ENCODING 'UTF8'."
            )


def read_state(connection: Connection, address: Address, schema: str, timeout_ms: int = 0) -> SchemaState:
    """What stands in the schema. `timeout_ms` 0: however long it takes.

    Raises:
        psycopg2.Error: What the server says.
    """
    names = {"versions": f'"{schema}".alembic_version', "heads": f'"{schema}".event_heads'}
    with connection.cursor() as cursor:
        cursor.execute(_STATE, {"schema": schema, "timeout": timeout_ms, **names})
        encoding, standby, version, isolation, commit, has_versions, has_heads, table = cursor.fetchone()
        revision = None
        # Another program's alembic_version tells nothing of us.
        if has_versions and (has_heads or table is None):
            cursor.execute(f'SELECT version_num FROM "{schema}".alembic_version')
            row = cursor.fetchone()
            revision = row[0] if row else ""
    ours = has_heads or revision is not None
    stranger = None if ours else table
    return SchemaState(address, schema, revision, stranger, encoding, standby, version, isolation, commit)


def set_up(address: Address, schema: str) -> None:
    """Make schema and tables where there are none. Several processes may do so at once.

    Raises:
        StorageUnavailable: It can't be done, or not by this user.
    """
    from daglens.storage.postgres.migrating import upgrade

    connection = connect(address)
    try:
        read_state(connection, address, schema).check_server()
    finally:
        connection.close()
    upgrade(address, schema)
