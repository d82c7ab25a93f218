"""How many sockets, event streams and requests one client has under way at once."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from daglens.server.admission import admission_of, headers_of
from daglens.server.answers import refusal
from daglens.storage.errors import DaglensError

_KEY: Final = "daglens.connection"
_FREE: Final = frozenset({"/healthz", "/readyz"})
_DENIAL: Final = "websocket.http.response"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TooManyConnections(DaglensError):
    """You have too many connections to this server open at once; close some, then try again."""

    code = "TOO_MANY_CONNECTIONS"


class ConnectionLimit:
    """Counts what each client has open, and refuses more than it may have.

    A client is who was let in by name, else an address: of the connection, or the one that a proxy names that is
    trusted with it. A socket counts for its address until it has said who speaks.
    """

    def __init__(self, app: ASGIApp, *, most: int, proxies: Sequence[Network] = ()) -> None:
        """`most` 0: without limit."""
        self._app = app
        self._most = most
        self._proxies = proxies
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request or socket and hand it on. See ASGI."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if not self._most or scope["type"] not in ("http", "websocket") or path in _FREE:
            await self._app(scope, receive, send)
            return
        connection = scope[_KEY] = Connection(self._open, self._most)
        try:
            connection.count_for(_name_of(scope) or f"address {client_address(scope, self._proxies)}")
        except TooManyConnections as error:
            await _refuse(scope, receive, send, error)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            connection.end()


class Connection:
    """One of those that are counted."""

    def __init__(self, open: Counter[str], most: int) -> None:
        self._open = open
        self._most = most
        self._client: str | None = None

    def count_for(self, client: str) -> None:
        """Count it for this client, and no more for another.

        Raises:
            TooManyConnections: It is counted as before.
        """
        if client == self._client:
            return
        if self._open[client] >= self._most:
            raise TooManyConnections(f"{self._most:,} are allowed.")
        self._open[client] += 1
        self.end()
        self._client = client

    def end(self) -> None:
        """Count it no more."""
        client, self._client = self._client, None
        if client is not None:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


def count_as_admitted(scope: Scope) -> None:
    """Count a socket for whom it was opened, now that this is known.

    Raises:
        TooManyConnections
    """
    connection: Connection | None = scope.get(_KEY)
    name = _name_of(scope)
    if connection is not None and name is not None:
        connection.count_for(name)


def client_address(scope: Scope, proxies: Iterable[Network]) -> str:
    """Where a request comes from: the address of its connection, or, going back from there through proxies that are
    trusted, the first in X-Forwarded-For that is none of these. "" when it is unknown (a Unix socket)."""
    client = scope.get("client")
    host = client[0] if client else ""
    address = _address(host)
    networks = tuple(proxies)
    forwarded = headers_of(scope).get("x-forwarded-for", "") if networks else ""
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
    while address is not None and hops and any(address in network for network in networks):
        before = _address(hops.pop())
        if before is None:
            break
        address = before
    return host if address is None else _group(address)


def _group(address: Address) -> str:
    # Whoever has one address of IPv6 has the 2**64 of its network.
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


@lru_cache(maxsize=4096)
def _address(host: str) -> Address | None:
    host = host.strip("[]")
    if host.count(":") == 1:
        host = host.partition(":")[0]  # some proxies add the port
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _name_of(scope: Scope) -> str | None:
    identity = admission_of(scope).known
    return None if identity is None or identity.name is None else f"name {identity.name}"


async def _refuse(scope: Scope, receive: Receive, send: Send, error: TooManyConnections) -> None:
    answer = refusal(429, error.code, str(error), headers={"retry-after": "1"})
    if scope["type"] == "http":
        await answer(scope, receive, send)
    elif _DENIAL in scope.get("extensions", {}):
        await WebSocket(scope, receive, send).send_denial_response(answer)
    else:
        # Closed before it is accepted: the handshake is answered with 403.
        await send({"type": "websocket.close", "code": 1013, "reason": error.code})
