"""Who may speak with the server at all: by Host (DNS rebinding) and by Origin (other sites' pages).

A page on another site can make a browser send requests here. Under a rebound name they carry that name in `Host`; from
their own origin they carry it in `Origin`. Both are checked before anything else, on every route and socket.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from daglens.server.admission import headers_of
from daglens.server.answers import refusal, refuse
from daglens.server.settings import PREFIX

log = logging.getLogger("daglens.server")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_PREFIX_CHARS = 255
_MAX_ORIGIN_CHARS = 255
_MOST_STRANGE_ORIGINS = 50


class Address(NamedTuple):
    """A host name in lower case, and a port; None where it is the scheme's own."""

    host: str
    port: int | None


def address(netloc: str) -> Address | None:
    """The address that a `Host` header names; None when it can't be one."""
    if not netloc or any(sign in netloc for sign in "@/?# \\"):
        return None
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return Address(host.rstrip("."), port) if host and host.rstrip(".") else None


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class StrangeOrigins:
    """Tells the log once of each origin whose pages are kept out. A browser hides from them why, and a preflight's
    refusal has no words: without this line nobody learns which setting it is."""

    def __init__(self, most: int = _MOST_STRANGE_ORIGINS) -> None:
        """Of more than `most` origins no more is said: whoever asks may call itself anything."""
        self._most = most
        self._told: set[str] = set()

    def note(self, origin: str) -> None:
        """A page of this origin was kept out."""
        shown = origin[:_MAX_ORIGIN_CHARS]
        if shown in self._told or len(self._told) >= self._most:
            return
        self._told.add(shown)
        last = " Of further origins nothing is said." if len(self._told) == self._most else ""
        log.warning(
            "Pages of %r may not use this server. If they should, start it with --allowed-origin ORIGIN, or name it in "
            "`daglens: access: allowed_origins`.%s",
            shown,
            last,
        )


class AccessMiddleware:
    """Refuses strange hosts and origins, and puts the path prefix where the routes look for it."""

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: Iterable[str], allowed_origins: Iterable[str], path_prefix: str
    ) -> None:
        self._app = app
        hosts = [host.lower().rstrip(".") for host in allowed_hosts]
        self._any_host = "*" in hosts
        self._hosts = {found.host for host in hosts if (found := address(host)) is not None}
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}
        self._prefix = path_prefix
        self._strange = StrangeOrigins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request or socket and hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        message = self._problem(scope, headers)
        if message is None and "access-control-request-method" in headers and scope.get("method") == "OPTIONS":
            # The answer is CORS's, which has no words that a page's author would get to see.
            self._note_origin(headers)
        if message is None:
            await self._app(_below(scope, self._prefix or _forwarded_prefix(headers)), receive, send)
        else:
            await refuse(scope, receive, send, refusal(403, "FORBIDDEN", message))

    def _problem(self, scope: Scope, headers: dict[str, str]) -> str | None:
        host = address(headers.get("host", ""))
        if host is None or not self._is_allowed_host(host.host):
            return (
                f"This server doesn't answer to the host {headers.get('host', '')!r}. "
                "Start it with --allowed-host NAME, or name it in `daglens: access: allowed_hosts`."
            )
        origin = headers.get("origin")
        streams = "text/event-stream" in headers.get("accept", "")
        if streams and origin is None and headers.get("sec-fetch-site") == "cross-site":
            # Of a page that asks without wanting to read the answer, a browser doesn't tell the origin.
            origin = "null"
        # An event stream is a socket in all but name: a page that may not read it may not have it opened either.
        changes = streams or scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if origin is not None and changes and not self._is_allowed_origin(origin, host, headers):
            self._strange.note(origin)
            return (
                f"Pages of {origin!r} may not use this server. "
                "Start it with --allowed-origin ORIGIN, or name it in `daglens: access: allowed_origins`."
            )
        return None

    def _note_origin(self, headers: dict[str, str]) -> None:
        origin, host = headers.get("origin"), address(headers["host"])
        if origin is not None and host is not None and not self._is_allowed_origin(origin, host, headers):
            self._strange.note(origin)

    def _is_allowed_host(self, host: str) -> bool:
        return self._any_host or is_loopback(host) or host in self._hosts or host.endswith(self._suffixes or ("\0",))

    def _is_allowed_origin(self, origin: str, host: Address, headers: dict[str, str]) -> bool:
        # Pages can't set this header; browsers say by it that the page came from here, whatever a proxy does to Host.
        if headers.get("sec-fetch-site") == "same-origin":
            return True
        lowered = origin.lower()
        if lowered in self._origins:
            return True
        scheme, _, netloc = lowered.partition("://")
        mine = address(netloc)
        if scheme not in _DEFAULT_PORTS or mine is None or mine.host != host.host:
            return False
        # A proxy that ends TLS hands on Host without a port: whichever scheme it serves by, its default port is meant.
        default = _DEFAULT_PORTS[scheme]
        return (mine.port or default) == (host.port or default)


def _below(scope: Scope, prefix: str) -> Scope:
    """The scope with its prefix in `root_path` and, as ASGI has it, in front of the paths: proxies may cut it off."""
    path = scope["path"]
    if not prefix or path == prefix or path.startswith(f"{prefix}/"):
        return {**scope, "root_path": prefix}
    raw_path = scope.get("raw_path")
    if raw_path is not None:
        raw_path = prefix.encode() + raw_path
    return {**scope, "root_path": prefix, "path": prefix + path, "raw_path": raw_path}


def _forwarded_prefix(headers: dict[str, str]) -> str:
    """The prefix that a proxy says it serves us below. It only ever appears in addresses that the same client gets."""
    prefix = headers.get("x-forwarded-prefix", "").strip().rstrip("/")
    return prefix if len(prefix) <= _MAX_PREFIX_CHARS and PREFIX.fullmatch(prefix) else ""
