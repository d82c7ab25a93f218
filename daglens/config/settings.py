"""The `daglens:` section of dagster.yaml: the settings that are daglens's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number, both included; used as `Annotated[int, Between(1, 10)]` in a Config."""

    low: float
    high: float

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """How pydantic checks them."""
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: float) -> float:
            if not self.low <= value <= self.high:
                # Without the value: the field might be anybody's.
                raise PydanticCustomError(
                    "out_of_bounds", "must be from {low} to {high}", {"low": f"{self.low:,}", "high": f"{self.high:,}"}
                )
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


@dataclass(frozen=True, slots=True)
class Before:
    """What is made of a value before it is checked; used as `Annotated[str, Before(change)]`."""

    change: Callable[[object], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """How pydantic does it."""
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.change, handler(source))


def _named(value: object) -> object:
    """The value. Taken for an absent key, an empty one that is meant to keep people out would let them in."""
    if value is None or value == "":
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("empty", "it is empty; give a name, or leave the key out")
    return value


NameOrNone = Annotated[str | None, Before(_named)]
"""None where the key is left out, and only there."""


@dataclass(frozen=True, slots=True)
class Retention:
    """Which finished runs are deleted by themselves: by one server at a time, oldest first. By default none.

    Attributes:
        older_than_days: Delete runs that ended longer ago; None: delete none.
        statuses: Only runs with one of these.
        keep_last: The newest so many runs of the instance stay, however old.
    """

    older_than_days: Annotated[float, Between(0.01, 36_500)] | None = None
    statuses: tuple[Literal["SUCCESS", "FAILURE", "CANCELED"], ...] = ("SUCCESS", "FAILURE", "CANCELED")
    keep_last: Annotated[int, Between(0, 2**31)] = 0


@dataclass(frozen=True, slots=True)
class Access:
    """Who may talk to the server, and as whom.

    Attributes:
        allowed_hosts: Names that requests may carry in `Host`, besides loopback's; `*.example.org` takes sub-domains.
        allowed_origins: Pages, as `https://example.org`, that may open WebSockets and read answers (CORS).
        tokens: The file of tokens; a relative path begins at the instance's folder.
        trusted_header: In which a proxy names the user that it has let in.
        trusted_proxies: Networks, as `10.0.0.0/8`, from which that header is believed.
        trusted_roles: Role by user; `*` is for those who aren't named.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    tokens: NameOrNone = None
    trusted_header: NameOrNone = None
    trusted_proxies: tuple[str, ...] = ()
    trusted_roles: Mapping[str, Literal["viewer", "recorder", "admin"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may ask for. 0 turns a limit off.

    Attributes:
        max_document_chars: Of a document, comments and all. To parse 100,000 takes the event loop some 25 ms.
        max_depth: Fields in fields of a document.
        max_tokens: Names, signs and values of a document.
        max_aliases: Fields selected by an alias, or twice; in a fragment, as often as it is spread.
        max_root_fields: Fields at the top of an operation.
        max_cost: Rows that an operation may have storages read (`daglens.schema.limits.weights`).
        max_page: Cap on `limit` of every list; a higher one gives this many.
        max_answer_bytes: Of a result as JSON. By default more than the largest page of events there can be, each of
            its 16 MiB written as six bytes.
        max_body_bytes: Of a request's body and of a message on a socket.
        max_operation_s: How long a query or a mutation may take; a long poll takes up to 25 s.
        max_operations: Open at once on one socket.
        max_connections: Sockets, event streams and requests of one client under way at once.
        max_client_bytes: Of one client's requests held at once: bodies and messages as they come in, and until what
            they ask for has ended. Less than `max_body_bytes`, and a body of that size is never taken.
        max_held_bytes: The same, of all clients of a server.
        forwarded_by: Networks of proxies, as `10.0.0.0/8`, whose X-Forwarded-For tells which client it is.
    """

    max_document_chars: Annotated[int, Between(0, 2**30)] = 100_000
    max_depth: Annotated[int, Between(0, 1_000)] = 20
    max_tokens: Annotated[int, Between(0, 2**30)] = 2_000
    max_aliases: Annotated[int, Between(0, 2**30)] = 100
    max_root_fields: Annotated[int, Between(0, 2**30)] = 25
    max_cost: Annotated[int, Between(0, 2**53)] = 200_000
    max_page: Annotated[int, Between(1, 1000)] = 1000
    max_answer_bytes: Annotated[int, Between(0, 2**40)] = 100 * 1024 * 1024
    max_body_bytes: Annotated[int, Between(0, 2**30)] = 16 * 1024 * 1024
    max_operation_s: Annotated[float, Between(0, 86_400)] = 60.0
    max_operations: Annotated[int, Between(0, 1_000_000)] = 100
    max_connections: Annotated[int, Between(0, 1_000_000)] = 2_000
    max_client_bytes: Annotated[int, Between(0, 2**40)] = 64 * 1024 * 1024
    max_held_bytes: Annotated[int, Between(0, 2**40)] = 256 * 1024 * 1024
    forwarded_by: tuple[str, ...] = ()


DocumentsMode = Literal["off", "log", "enforce"]


def _off(value: object) -> object:
    """What YAML makes of a bare `off`."""
    return "off" if value is False else value


@dataclass(frozen=True, slots=True)
class Documents:
    """Which documents are executed.

    Attributes:
        manifest: The file of trusted documents (`daglens documents write`); a relative path begins at the instance's
            folder. None: every document is executed.
        mode: Of documents that are not in the file: `enforce` refuses them, `log` names them in the log, `off` passes
            over the file.
    """

    manifest: NameOrNone = None
    mode: Annotated[DocumentsMode, Before(_off)] = "enforce"


@dataclass(frozen=True, slots=True)
class Live:
    """How live feeds run.

    Attributes:
        poll_interval_s: How often a storage is asked for news where nothing gives a hint of them.
        ping_interval_s: How often an idle WebSocket or SSE connection hears from the server, so that proxies keep it.
    """

    poll_interval_s: Annotated[float, Between(0.01, 60)] = 0.25
    ping_interval_s: Annotated[float, Between(1, 3600)] = 4.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The `daglens:` section; what it leaves out has the defaults."""

    retention: Retention = field(default_factory=Retention)
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    documents: Documents = field(default_factory=Documents)
    live: Live = field(default_factory=Live)
