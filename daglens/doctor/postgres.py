"""A PostgreSQL server and what stands before it, seen by connections of our own: no pool, no setting up."""

from __future__ import annotations

import contextlib
import secrets
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2

from daglens.doctor.findings import Finding, ok, problem, warning
from daglens.storage.errors import DaglensError
from daglens.storage.postgres.channels import echo_channel
from daglens.storage.postgres.config import Address
from daglens.storage.postgres.readiness import SchemaState, read_state

_CONNECT_S = 5
_PATIENCE_MS = 5000
_ECHO_S = 5.0
_CLOCK_S, _CLOCK_BAD_S = 1.0, 30.0
_CONNECTIONS = """SELECT
    current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
    (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
    (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database())"""


class PostgresVisit:
    """A look at one schema of one server."""

    def __init__(self, address: Address, schema: str, *, pool_size: int, autocreate: bool) -> None:
        """`pool_size`: connections that one process may have; `autocreate`: whether an empty schema is set up."""
        self._address = address
        self._schema = schema
        self._pool_size = pool_size
        self._autocreate = autocreate
        self._pooler_shares = False

    def findings(self) -> Iterator[Finding]:
        """What is to be said. Where one look fails, the others go on."""
        try:
            connection = self._connect()
        except (psycopg2.Error, UnicodeError) as error:
            yield problem(
                "postgres",
                f"{self._address} can't be reached: {_first_line(error)}.",
                "Look at postgres_url or postgres_db in dagster.yaml, and whether the server runs and lets us in.",
            )
            return
        with contextlib.closing(connection):
            yield from self._looked("schema", lambda: self._schema_found(connection))
            yield from self._looked("clock", lambda: self._clock(connection))
            yield from self._looked("pool", lambda: self._pool(connection))
            yield from self._looked("pgbouncer", lambda: self._pooler(connection))
        yield from self._looked("live-hint", self._hint)

    def _connect(self) -> Any:
        parameters = {**self._address.parameters(), "connect_timeout": _CONNECT_S, "application_name": "daglens doctor"}
        connection = psycopg2.connect(**parameters)
        connection.autocommit = True
        return connection

    def _looked(self, check: str, look: Callable[[], Finding]) -> Iterator[Finding]:
        try:
            yield look()
        except (psycopg2.Error, OSError) as error:
            yield problem(
                check,
                f"{self._address} did not answer: {_first_line(error)}.",
                "Look into the server's log; daglens asks again when you run this again.",
            )

    def _ask(self, connection: Any, sql: str) -> Any:
        with connection.cursor() as cursor:
            # One message is one transaction, also behind a pooler.
            cursor.execute(f"SET LOCAL statement_timeout = {_PATIENCE_MS}; {sql}")
            return cursor.fetchone()

    # ------------------------------------------------------------ looks

    def _schema_found(self, connection: Any) -> Finding:
        state = read_state(connection, self._address, self._schema, _PATIENCE_MS)
        if state.is_current:
            return self._standby(state) or ok(
                "schema", f'Schema "{self._schema}" is at revision {state.revision}, the newest.'
            )
        if state.is_empty and self._autocreate and not state.standby:
            return ok("schema", f'Schema "{self._schema}" isn\'t there yet; the first use sets it up.')
        try:
            state.check()
        except DaglensError as error:
            advice = "Run `daglens instance migrate` as a user who may make tables."
            if state.stranger is not None:
                advice = "Write another schema_name in run_storage and event_log_storage."
            elif state.revision is not None and not state.is_older:
                advice = "Upgrade daglens on this machine."
            return problem("schema", str(error), advice)
        return ok("schema", f'Schema "{self._schema}" can be used.')

    def _standby(self, state: SchemaState) -> Finding | None:
        if not state.standby:
            return None
        return warning(
            "schema",
            f"{self._address} is a standby: history can be read there, and not written.",
            "Start the server with --read-only, or write the primary's address in dagster.yaml.",
        )

    def _clock(self, connection: Any) -> Finding:
        asked = time.time()
        (theirs,) = self._ask(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
        answered = time.time()
        # Theirs was taken somewhere in between.
        off_s = max(asked - theirs, theirs - answered, 0.0)
        found = f"This machine's clock and the server's are {off_s:.1f} s apart."
        advice = "Let NTP set both (timedatectl, chrony); times of events are their writers', heartbeats the server's."
        if off_s > _CLOCK_BAD_S:
            return problem("clock", found, advice)
        if off_s > _CLOCK_S:
            return warning("clock", found, advice)
        return ok("clock", f"This machine's clock agrees with the server's to {off_s + answered - asked:.2f} s.")

    def _pool(self, connection: Any) -> Finding:
        most, reserved, in_use, user_limit, database_limit = self._ask(connection, _CONNECTIONS)
        limits = [
            most - reserved,
            *(limit for limit in (user_limit, database_limit) if limit is not None and limit >= 0),
        ]
        usable = min(limits)
        # The one that asks goes.
        free = usable - (in_use - 1)
        each = self._pool_size + 1
        found = (
            f"A process takes up to {self._pool_size} connections, and one to listen; of {usable} that daglens's user "
            f"may have, {max(free, 0)} are free."
        )
        advice = (
            "Lower pool_size and max_overflow in dagster.yaml, raise max_connections in postgresql.conf, or put a "
            "PgBouncer in between."
        )
        if each > usable:
            return problem("pool", found, advice)
        if each > free:
            return warning("pool", found, advice)
        return ok("pool", f"{found} That is enough for {usable // each} such processes.")

    def _pooler(self, connection: Any) -> Finding:
        # PostgreSQL says the number of its process when a connection begins; a pooler says one that it made up.
        said: int = connection.info.backend_pid
        (mine,) = self._ask(connection, "SELECT pg_backend_pid()")
        if said == mine:
            return ok("pgbouncer", "Nothing stands between daglens and PostgreSQL.")
        with contextlib.closing(self._connect()) as other:
            (theirs,) = self._ask(other, "SELECT pg_backend_pid()")
        self._pooler_shares = mine == theirs
        if not self._pooler_shares:
            return ok("pgbouncer", "A pooler stands before PostgreSQL, with a connection for each of ours.")
        return warning(
            "pgbouncer",
            "A PgBouncer in transaction mode stands before PostgreSQL. That works, but for hints of new events.",
            "Where live views should be quicker, write PostgreSQL's own address in the servers' event_log_storage and "
            "run_storage; recorders may go through the pooler.",
        )

    def _hint(self) -> Finding:
        advice = (
            "Write PostgreSQL's own address, or that of a pooler in session mode, in dagster.yaml; or set "
            "`daglens: live: poll_interval_s`."
        )
        slower = "Live views show new events at the next look (poll_interval_s, 0.25 s), not at once."
        if self._pooler_shares:
            return warning("live-hint", f"Notifications don't come through the pooler. {slower}", advice)
        channel = echo_channel(self._schema, secrets.token_hex(8))
        with contextlib.closing(self._connect()) as listening, contextlib.closing(self._connect()) as telling:
            with listening.cursor() as cursor:
                cursor.execute(f"LISTEN {channel}")
            self._ask(telling, f"SELECT pg_notify('{channel}', 'echo')")
            heard = _heard(listening)
            with contextlib.suppress(psycopg2.Error), listening.cursor() as cursor:
                cursor.execute(f"UNLISTEN {channel}")
        if heard:
            return ok("live-hint", "A notification came back: live views hear of new events at once.")
        return warning("live-hint", f"A notification did not come back within {_ECHO_S:g} s. {slower}", advice)


def _heard(connection: Any) -> bool:
    until = time.monotonic() + _ECHO_S
    while (left_s := until - time.monotonic()) > 0:
        if select.select([connection], [], [], left_s)[0]:
            connection.poll()
        if connection.notifies:
            return True
    return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
