"""How many bytes of requests the server holds at once: counted as they come in, and given back however they end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import SHUT_RDWR, create_connection
from socket import socket as TcpSocket
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from daglens.access import Role
from daglens.access.token_file import add_token
from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.server.connections import Clients, Connection, ServerFull, TooManyBytes, TooManyConnections
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, LEGACY, PATIENCE_S, TRANSPORT, Serve, Socket, create, opened, until

PROTOCOLS = (TRANSPORT, LEGACY)
KIB = 1024
LOCAL = "address 127.0.0.1"


def held(server: LiveServer) -> dict[str, int]:
    """Bytes by client."""
    return server.on_loop(lambda: dict(server.app.state.served.clients.held_bytes))


def nothing_held(server: LiveServer) -> bool:
    clients = server.app.state.served.clients
    return server.on_loop(lambda: not clients.held_bytes and clients.total_bytes == 0)


def watch(socket: Socket, id: str, kib: int) -> None:
    """Subscribe by a message of so many KiB."""
    socket.start(EVENTS, id=id, variables={"runId": "run", "after": None, "unused": "x" * (kib * KIB)})


@contextmanager
def half_sent(server: LiveServer, size: int) -> Iterator[TcpSocket]:
    """A request of twice the size, of which one half has come in."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    lines = ("POST /graphql HTTP/1.1", f"Host: {host}", "Content-Type: application/json", f"Content-Length: {2 * size}")
    head = "\r\n".join((*lines, "", ""))
    with create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode() + b" " * size)
        yield connection


def test_what_is_counted() -> None:
    """Bytes count for their client and for all, go with a connection to another name, and are given back once."""
    clients = Clients(most_connections=2, most_bytes=100, most_total_bytes=150)
    first, second = Connection(clients), Connection(clients)
    first.count_for("address a")
    second.count_for("name b")
    first.hold(60)
    with pytest.raises(TooManyBytes, match="100 are allowed"):
        first.hold(41)
    second.hold(90)
    with pytest.raises(ServerFull, match="150 are allowed"):
        first.hold(1)
    first.count_for("name b")
    assert (clients.held_bytes, clients.total_bytes) == ({"name b": 150}, 150)
    third = Connection(clients)
    third.count_for("address c")
    with pytest.raises(TooManyConnections):
        third.count_for("name b")
    first.release(20)
    assert clients.held_bytes == {"name b": 130}
    first.end()
    first.release(40)
    first.hold(40)
    first.end()
    assert (clients.held_bytes, clients.connections) == ({"name b": 90}, {"name b": 1, "address c": 1})
    second.end()
    third.end()
    assert (clients.held_bytes, clients.connections, clients.total_bytes) == ({}, {}, 0)


def test_bodies_that_come_in(serve: Serve) -> None:
    """Bodies count while they are read: one more than a client may have under way is refused, and when another breaks
    off, there is room again."""
    server = serve(limits=Limits(max_client_bytes=1000 * KIB))
    body = json.dumps({"query": "{ version }", "variables": {"unused": "x" * 600 * KIB}})
    headers = {"content-type": "application/json"}
    with half_sent(server, 600 * KIB) as under_way:
        until(lambda: held(server) == {LOCAL: 600 * KIB})
        assert "\ndaglens_held_bytes 614400.0\n" in httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
        for accept in ("application/json", "text/event-stream"):
            told = {**headers, "accept": accept}
            refused = httpx.post(f"{server.url}/graphql", content=body, headers=told, timeout=PATIENCE_S)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_BYTES"
        until(lambda: held(server) == {LOCAL: 600 * KIB})
        under_way.shutdown(SHUT_RDWR)
    until(lambda: nothing_held(server))
    answer = httpx.post(f"{server.url}/graphql", content=body, headers=headers, timeout=PATIENCE_S)
    assert "version" in answer.json()["data"]
    until(lambda: nothing_held(server))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_operations_of_a_socket(serve: Serve, instance: Instance, protocol: str) -> None:
    """The operation that is too much is told so; the others go on, and there is room when one of them has ended."""
    create(instance)
    server = serve(limits=Limits(max_client_bytes=200 * KIB))
    with opened(server, protocol) as socket:
        for id in "abc":
            watch(socket, id, 60)
            socket.result(id)
        watch(socket, "d", 60)
        message = socket.receive()
        (error,) = [message["payload"]] if protocol == LEGACY else message["payload"]
        assert (message["type"], message["id"]) == ("error", "d")
        assert error["extensions"]["code"] == "TOO_MANY_BYTES"
        socket.send({"type": socket.stop_type, "id": "a"})
        until(lambda: held(server)[LOCAL] < 130 * KIB)
        watch(socket, "d", 60)
        message = socket.receive()
        while message["type"] == "complete":  # of a, on the older protocol
            message = socket.receive()
        assert (message["type"], message["id"]) == (socket.result_type, "d")
    until(lambda: nothing_held(server))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_message_that_comes_in(serve: Serve, protocol: str) -> None:
    """A message larger than 64 KiB counts before it is complete; the socket for which there is no room is closed with
    1013 and the reason, and all that it held is given back."""
    server = serve(limits=Limits(max_client_bytes=1000 * KIB))
    more, sent = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        yield "x" * (100 * KIB)
        yield from ["x"] * 1000
        sent.set()
        more.wait(PATIENCE_S)
        yield "x" * (900 * KIB)

    with opened(server, protocol) as socket:
        sending = threading.Thread(target=quietly, args=[lambda: socket.connection.send(pieces())])
        sending.start()
        sent.wait(PATIENCE_S)
        # What single bytes take in memory counts with them.
        until(lambda: held(server).get(LOCAL, 0) >= 100 * KIB + 1000 * 65)
        more.set()
        assert socket.close_code() == 1013
        sending.join()
        reason = socket.connection.protocol.close_reason
        assert reason is not None and reason.startswith("TOO_MANY_BYTES: The server holds")
    until(lambda: nothing_held(server))


def quietly(call: Callable[[], Any]) -> None:
    """What breaks off is said by the socket itself."""
    with suppress(ConnectionClosed):
        call()


def test_a_large_message_is_held_by_its_operation(serve: Serve, instance: Instance) -> None:
    """A message that has come in is held by what it asks for, and once."""
    create(instance)
    server = serve()
    with opened(server) as socket:
        watch(socket, "a", 500)
        socket.result("a")
        assert 500 * KIB < held(server)[LOCAL] < 501 * KIB
        socket.send({"type": "ping"})
        assert socket.receive() == {"type": "pong"}
        assert 500 * KIB < held(server)[LOCAL] < 501 * KIB
        socket.send({"type": "complete", "id": "a"})
        until(lambda: nothing_held(server))


def end_by(ending: str, socket: Socket) -> None:
    """Begin an operation, or none, and have it end so."""
    if ending == "finished":
        socket.start("{ version }" + " " * 9000)
        socket.results()
    elif ending == "refused":
        socket.start("{ nothing }" + " " * 9000)
        socket.receive()
    elif ending == "unreadable":
        socket.start("", variables={"unused": "x" * 9000})
        socket.receive()
    elif ending == "no message of GraphQL":
        socket.send({"type": 1, "unused": "x" * 9000})
        assert socket.close_code() == 4400
    elif ending == "answered":
        socket.send({"type": "ping", "payload": {"unused": "x" * 9000}})
    else:
        watch(socket, "a", 10)
        socket.result("a")
        if ending == "replaced":
            watch(socket, "a", 10)  # on the newer protocol it ends the socket
        elif ending == "closed":
            socket.connection.close()
        elif ending == "broken off":
            socket.connection.socket.shutdown(SHUT_RDWR)
        if ending in ("stopped", "replaced"):
            quietly(lambda: stop(socket, "a"))


ENDINGS = ("finished", "refused", "unreadable", "no message of GraphQL", "answered", "stopped", "replaced", "closed")


def stop(socket: Socket, id: str) -> None:
    socket.send({"type": socket.stop_type, "id": id})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_ending_gives_back(serve: Serve, instance: Instance, protocol: str) -> None:
    """However an operation or a socket ends, nothing of it counts any more."""
    create(instance)
    server = serve()
    for ending in (*ENDINGS, "broken off"):
        with opened(server, protocol) as socket:
            end_by(ending, socket)
            until(lambda: nothing_held(server))


def test_event_streams_hold_their_request(serve: Serve, instance: Instance) -> None:
    """What a stream was asked for by, POST or GET, counts until it has ended."""
    create(instance)
    server = serve()
    body: dict[str, Any] = {"query": EVENTS, "variables": {"runId": "run"}}
    get = {"query": EVENTS, "variables": json.dumps(body["variables"])}
    requests: tuple[dict[str, Any], ...] = ({"method": "POST", "json": body}, {"method": "GET", "params": get})
    for request in requests:
        with httpx.stream(
            url=f"{server.url}/graphql", headers={"accept": "text/event-stream"}, timeout=PATIENCE_S, **request
        ) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: next"
            assert held(server)[LOCAL] >= len(EVENTS)
        until(lambda: nothing_held(server))


def test_bytes_count_for_who_speaks(serve: Serve, instance: Instance, tmp_path: Path) -> None:
    """Who was let in by a token has room of their own; a server that is full refuses everybody."""
    create(instance)
    file = tmp_path / "tokens"
    tokens = [add_token(file, name, Role.VIEWER) for name in ("alice", "bob", "carol")]
    server = serve(tokens=file, limits=Limits(max_client_bytes=100 * KIB, max_held_bytes=150 * KIB))
    with ExitStack() as stack:
        codes: list[str] = []
        for token in tokens:
            socket = stack.enter_context(opened(server, init=False))
            socket.init(payload={"authorization": f"Bearer {token}"})
            for _ in range(2):
                watch(socket, str(len(codes)), 60)
                message = socket.receive()
                codes.append(message["payload"][0]["extensions"]["code"] if message["type"] == "error" else "let in")
        assert codes == ["let in", "TOO_MANY_BYTES"] * 2 + ["SERVER_FULL"] * 2
        assert set(held(server)) == {"name alice", "name bob"}
    until(lambda: nothing_held(server))
