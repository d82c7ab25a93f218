"""What a server is told when it starts, beside its instance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_type_hints

from daglens.config.settings import DocumentsMode, Limits, Settings
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.errors import DaglensError

PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*", re.ASCII)
"""A path prefix: nothing, or parts that each begin with a slash; it ends without one."""

_ORIGIN = re.compile(r"https?://[^/?#@\s]+", re.ASCII | re.IGNORECASE)


class InvalidServerSetting(DaglensError):
    """The server can't be started with this setting."""

    code = "INVALID_SERVER_SETTING"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server process.

    Attributes:
        allowed_hosts: Names that `Host` may carry besides loopback's; `*.example.org` takes sub-domains, `*` all.
        allowed_origins: Pages, as `https://example.org`, that may open sockets, send requests and read answers.
        path_prefix: The path below which a proxy offers this server, e.g. `/daglens`; "" for none.
        read_only: No mutations, no upkeep, no retention.
        tokens: The file of tokens; None: that of dagster.yaml, if it names one.
        limits: What clients may ask for.
        documents: The file of trusted documents; None: that of dagster.yaml, if it names one.
        documents_mode: What is done with a document that is not in it: `off` and `log` execute it, `enforce` doesn't.
        init_timeout_s: How long a new WebSocket may take to send `connection_init`.
        ping_interval_s: Between two pings on a WebSocket.
        upkeep_s: Between two rounds of upkeep.
        retention_s: Between two rounds of retention, where the instance has one.
        ready_timeout_s: How long `/readyz` waits for a storage.
        drain_s: How long a stopping server lets requests finish.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    path_prefix: str = ""
    read_only: bool = False
    tokens: Path | None = None
    limits: Limits = field(default_factory=Limits)
    documents: Path | None = None
    documents_mode: DocumentsMode = "enforce"
    init_timeout_s: float = 10.0
    ping_interval_s: float = 4.0
    upkeep_s: float = 10.0
    retention_s: float = 60.0
    ready_timeout_s: float = 5.0
    drain_s: float = 10.0
    live: LiveSettings = field(default_factory=LiveSettings)

    def __post_init__(self) -> None:
        """Refuse what would silently never match.

        Raises:
            InvalidServerSetting
        """
        if not PREFIX.fullmatch(self.path_prefix):
            raise InvalidServerSetting(f"The path prefix {self.path_prefix!r} should look like '/daglens'.")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidServerSetting(f"The origin {origin!r} should look like 'https://example.org'.")
        for host in self.allowed_hosts:
            if not host or "/" in host:
                raise InvalidServerSetting(f"The host {host!r} should be a name, as 'daglens.example.org'.")

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        allowed_hosts: tuple[str, ...] = (),
        allowed_origins: tuple[str, ...] = (),
        path_prefix: str = "",
        read_only: bool = False,
        tokens: Path | None = None,
        limits: Sequence[str] = (),
        documents: Path | None = None,
        documents_mode: DocumentsMode | None = None,
    ) -> Self:
        """Those of an instance's `daglens:` section, with what the command line adds.

        Raises:
            InvalidServerSetting
        """
        return cls(
            allowed_hosts=(*settings.access.allowed_hosts, *allowed_hosts),
            # Browsers write an origin in lower case, and CORS compares it letter by letter.
            allowed_origins=tuple(o.lower() for o in (*settings.access.allowed_origins, *allowed_origins)),
            path_prefix=path_prefix.rstrip("/"),
            read_only=read_only,
            tokens=tokens,
            limits=limits_with(settings.limits, limits),
            documents=documents,
            documents_mode=documents_mode or settings.documents.mode,
            ping_interval_s=settings.live.ping_interval_s,
            live=LiveSettings(poll_s=settings.live.poll_interval_s),
        )


def limits_with(limits: Limits, given: Sequence[str]) -> Limits:
    """The limits, changed as texts like `max_depth=30` say.

    Raises:
        InvalidServerSetting: There is no such limit, or it can't have this value.
    """
    if not given:
        return limits
    from pydantic import TypeAdapter, ValidationError

    # Resolvers take that of pages from the instance.
    hints = get_type_hints(Limits, include_extras=True)
    for name in ("forwarded_by", "max_page"):
        del hints[name]
    values: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in hints:
            raise InvalidServerSetting(f"{text!r} is none of NAME=NUMBER with a NAME out of {', '.join(hints)}.")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            raise InvalidServerSetting(f"{text!r}: {error.errors()[0]['msg']}.") from None
    return replace(limits, **values)
