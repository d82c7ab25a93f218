"""What dagster.yaml may say of the Postgres storages, and the address that becomes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from daglens.config.secrets import Secret

Durability = Literal["full", "normal"]

_SCHEME = re.compile(r"postgres(ql)?(\+\w+)?", re.IGNORECASE)
_SCHEMA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_ENCODE = "percent-encode odd characters of user and password, or write postgres_db instead"

# A connection that nobody answers any more is noticed within a minute; what the address says itself wins.
_KEEPALIVES = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


@dataclass(frozen=True, slots=True)
class PostgresDb:
    """A database, named part by part.

    Attributes:
        username: Who connects.
        password: Left out where the server asks for none, or a password file has it.
        hostname: A host, or the folder of a Unix socket.
        port: Where the server listens.
        db_name: The database.
        params: Further connection parameters of libpq, `sslmode` for one.
        scheme: Taken from Dagster's files and not used: the driver is always psycopg2.
    """

    username: str
    hostname: str
    db_name: str
    password: Secret | None = None
    port: int = 5432
    params: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    scheme: str | None = None


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """Where the database is and how it is used; one of `postgres_url` and `postgres_db` is needed.

    Attributes:
        postgres_url: `postgresql://user:password@host:port/database?param=value`, or with `postgres://`. The driver is
            always psycopg2, also where the URL names another.
        postgres_db: The same part by part.
        schema_name: The Postgres schema that holds daglens's tables; nothing outside it is touched. Letters, digits
            and `_`.
        should_autocreate_tables: Set up an empty database at the first use. Otherwise `daglens instance migrate` does.
        pool_size: Connections that a process keeps at most, the one that listens for news not counted.
        max_overflow: More connections, for the time they are needed.
        pool_timeout_s: How long a call waits for a free connection.
        connect_timeout_s: How long a new connection may take.
        statement_timeout_s: How long one statement may run, locks it waits for included; 0: without limit.
        durability: `full`: what was acknowledged survives a power cut. `normal`: the last moments before a crash of
            the server may go (`synchronous_commit = off`); single appends are faster.
    """

    postgres_url: Secret | None = None
    postgres_db: PostgresDb | None = None
    schema_name: str = "daglens"
    should_autocreate_tables: bool = True
    pool_size: int = 8
    max_overflow: int = 0
    pool_timeout_s: float = 30
    connect_timeout_s: float = 10
    statement_timeout_s: float = 30
    durability: Durability = "full"

    def __post_init__(self) -> None:
        """Raises ValueError, with a sentence that shows no value."""
        if (self.postgres_url is None) == (self.postgres_db is None):
            raise ValueError("needs one of postgres_url and postgres_db")
        if not _SCHEMA_NAME.fullmatch(self.schema_name) or self.schema_name.lower().startswith("pg_"):
            raise ValueError("schema_name takes up to 63 letters, digits and _, no digit first, and no pg_ in front")
        for name, low, high in (
            ("pool_size", 1, 1000),
            ("max_overflow", 0, 1000),
            ("pool_timeout_s", 0.1, 3600),
            ("connect_timeout_s", 1, 3600),
            ("statement_timeout_s", 0, 86_400),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")
        self.address()

    def address(self) -> Address:
        """Where to connect.

        Raises:
            ValueError: The URL can't be read; the sentence shows nothing of it.
        """
        if self.postgres_url is not None:
            given = _read_url(self.postgres_url.reveal())
        else:
            assert self.postgres_db is not None
            db = self.postgres_db
            given = {"host": db.hostname, "port": str(db.port), "user": db.username, "dbname": db.db_name}
            if db.password is not None:
                given["password"] = db.password.reveal()
            given |= {name: _parameter(value) for name, value in db.params.items()}
        timeout = {"connect_timeout": str(max(2, math.ceil(self.connect_timeout_s)))}
        if any("\0" in value for value in given.values()):
            raise ValueError("there is a NUL in it (%00 in a URL), which no connection parameter can hold")
        own = {"application_name": "daglens", "client_encoding": "UTF8"}
        return Address({**own, **_KEEPALIVES, **timeout, **given})


class Address:
    """Connection parameters of libpq. Two that say the same are equal; the printed form has no password."""

    __slots__ = ("_parameters",)

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = dict(parameters)

    def parameters(self) -> dict[str, Any]:
        """What psycopg2.connect takes, the password included."""
        return dict(self._parameters)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may show."""
        return tuple(v for name, v in self._parameters.items() if "password" in name and v)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._parameters == other._parameters

    def __hash__(self) -> int:
        return hash(frozenset(self._parameters.items()))

    def __repr__(self) -> str:
        host = self._parameters.get("host") or "the local socket"
        port = self._parameters.get("port")
        database = self._parameters.get("dbname") or self._parameters.get("user") or "of the user's name"
        where = host if port is None or host.startswith("/") else f"{host}:{port}"
        return f"PostgreSQL at {where}, database {database}"


def _read_url(url: str) -> dict[str, str]:
    scheme, separator, rest = url.strip().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ValueError("postgres_url must begin with postgresql://")
    before, _, query = rest.partition("?")
    # The last @: a password may hold one that nobody encoded; a host can't.
    user_info, _, place = before.rpartition("@")
    hosts, _, database = place.partition("/")
    given = _read_hosts(hosts)
    user, separator, password = user_info.partition(":")
    for name, value in (("user", user), ("password", password), ("dbname", database)):
        if value:
            given[name] = unquote(value)
    try:
        given |= dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("the part of postgres_url behind ? must be name=value&name=value") from None
    return given


def _read_hosts(text: str) -> dict[str, str]:
    """Hosts and ports as libpq takes them: several, in the same order, with commas."""
    if not text:
        return {}
    hosts, ports = [], []
    for part in text.split(","):
        found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d*))?", part)
        if found is None:
            raise ValueError(f"the host of postgres_url can't be read; {_ENCODE}")
        hosts.append(unquote(found[1].strip("[]")))
        ports.append(found[2] or "")
    given = {"host": ",".join(hosts)}
    if any(ports):
        given["port"] = ",".join(ports)
    return given


def _parameter(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
