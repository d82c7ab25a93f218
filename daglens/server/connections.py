"""How many sockets, event streams and requests one client has under way at once, and how many bytes they hold."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

from starlette.types import ASGIApp, Receive, Scope, Send

from daglens.server.admission import admission_of, headers_of
from daglens.server.answers import note_refusal, refusal, refuse
from daglens.server.receiving import RECEIVING
from daglens.storage.errors import DaglensError

_KEY: Final = "daglens.connection"
_FREE: Final = frozenset({"/healthz", "/readyz"})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TooManyConnections(DaglensError):
    """You have too many connections to this server open at once; close some, then try again."""

    code = "TOO_MANY_CONNECTIONS"


class TooManyBytes(DaglensError):
    """The server holds as many bytes of your requests as it may at once; let some of them end, then try again."""

    code = "TOO_MANY_BYTES"
    status = 429


class ServerFull(TooManyBytes):
    """The server holds as many bytes of all clients' requests as it may at once; try again in a moment."""

    code = "SERVER_FULL"
    status = 503


class Clients:
    """What each client of one server has open, and how many bytes of its requests are held.

    Attributes:
        connections: Sockets, event streams and requests under way, by client.
        held_bytes: Of bodies and messages as they come in, and until what they ask for has ended, by client.
        total_bytes: The same, of all clients.
    """

    def __init__(self, most_connections: int = 0, most_bytes: int = 0, most_total_bytes: int = 0) -> None:
        """`most_connections` and `most_bytes` of one client, `most_total_bytes` of all; 0: without limit."""
        self.most_connections = most_connections
        self.most_bytes = most_bytes
        self.most_total_bytes = most_total_bytes
        self.connections: dict[str, int] = {}
        self.held_bytes: dict[str, int] = {}
        self.total_bytes = 0
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn_of(self, client: str) -> AsyncIterator[None]:
        """A block in which a client is once at a time: it stands behind others once, whatever it sends at once."""
        turn = self._turns.get(client)
        if turn is None:
            turn = self._turns[client] = asyncio.Lock()
        async with turn:
            yield


class ConnectionLimit:
    """Counts what each client has open, and refuses more than it may have.

    A client is who was let in by name, else an address: of the connection, or the one that a proxy names that is
    trusted with it. A socket counts for its address until it has said who speaks.
    """

    def __init__(self, app: ASGIApp, *, clients: Clients, proxies: Sequence[Network] = ()) -> None:
        self._app = app
        self._clients = clients
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request or socket and hand it on. See ASGI."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] not in ("http", "websocket") or path in _FREE:
            await self._app(scope, receive, send)
            return
        connection = scope[_KEY] = Connection(self._clients)
        try:
            connection.count_for(_name_of(scope) or f"address {client_address(scope, self._proxies)}")
        except TooManyConnections as error:
            await _refuse(scope, receive, send, error)
            return
        extensions = scope.get("extensions")
        if extensions and RECEIVING in extensions:
            extensions[RECEIVING](_Received(connection, scope))
        try:
            await self._app(scope, receive, send)
        finally:
            connection.end()


class Connection:
    """One of those that are counted, and the bytes that are held of it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._client: str | None = None
        self._held = 0

    def count_for(self, client: str) -> None:
        """Count it for this client, and no more for another.

        Raises:
            TooManyConnections: It is counted as before.
        """
        if client == self._client:
            return
        clients = self._clients
        count = clients.connections.get(client, 0)
        if 0 < clients.most_connections <= count:
            raise TooManyConnections(f"{clients.most_connections:,} are allowed.")
        held = self._held
        self.end()
        self._client = client
        clients.connections[client] = count + 1
        if held:
            # Taken from whom it counted for a moment ago: all together it is no more.
            clients.held_bytes[client] = clients.held_bytes.get(client, 0) + held
            clients.total_bytes += held
            self._held = held

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A block in which one connection of its client is at a time."""
        async with self._clients.turn_of(self._client or ""):
            yield

    def hold(self, size: int) -> None:
        """Count so many bytes more; those of a connection that has ended count no more.

        Raises:
            TooManyBytes: They don't count.
        """
        client = self._client
        if client is None:
            return
        clients = self._clients
        held = clients.held_bytes.get(client, 0) + size
        if 0 < clients.most_bytes < held:
            raise TooManyBytes(f"{clients.most_bytes:,} are allowed.")
        if 0 < clients.most_total_bytes < clients.total_bytes + size:
            raise ServerFull(f"{clients.most_total_bytes:,} are allowed.")
        clients.held_bytes[client] = held
        clients.total_bytes += size
        self._held += size

    def release(self, size: int) -> None:
        """Count so many bytes less. What the connection's end has given back already isn't given back again."""
        size = min(size, self._held)
        if size:
            assert self._client is not None
            self._held -= size
            clients = self._clients
            clients.total_bytes -= size
            _lower(clients.held_bytes, self._client, size)

    def end(self) -> None:
        """Count it no more, and none of its bytes."""
        if self._client is None:
            return
        if self._held:
            self.release(self._held)
        client, self._client = self._client, None
        _lower(self._clients.connections, client, 1)


class _Received:
    """Counts what a socket receives, before there is a message that could be answered."""

    def __init__(self, connection: Connection, scope: Scope) -> None:
        self.release = connection.release
        self._connection = connection
        self._scope = scope

    def hold(self, size: int) -> None:
        """See Connection; the socket is closed with 1013 where it raises."""
        try:
            self._connection.hold(size)
        except TooManyBytes as error:
            note_refusal(self._scope, error.code, "the socket is closed with 1013")
            raise


def _lower(counts: dict[str, int], client: str, by: int) -> None:
    left = counts[client] - by
    if left:
        counts[client] = left
    else:
        del counts[client]


def connection_of(scope: Scope) -> Connection:
    """The connection of a scope that has come through ConnectionLimit, to be counted by."""
    connection: Connection = scope[_KEY]
    return connection


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
    await refuse(scope, receive, send, answer)
