"""How a server ends for those who are connected: nobody who could be answered is reset or left without a word."""

from __future__ import annotations

import asyncio
import json
import logging
import socket as sockets
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame
from websockets.http11 import Response
from websockets.uri import parse_uri

from daglens.instance import Instance
from daglens.server.app import create_app
from daglens.server.cut_off import CutOff
from daglens.server.draining import DrainingServer
from daglens.server.serve import TlsFiles, listen, make_server, url_of
from daglens.server.settings import ServerSettings
from daglens.server.telemetry.request import begin_request
from daglens.testing.faults import hanging
from tests.access.test_program import certificate as certificate
from tests.live.conftest import QUICK
from tests.server.conftest import PATIENCE_S, TRANSPORT, create
from tests.server.test_processes import connection_to

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Stoppable:
    """A server in a thread, which the test stops when it likes."""

    server: DrainingServer
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    url: str

    def stop(self) -> None:
        """Ask it to end."""
        self.server.should_exit = True

    @contextmanager
    def stopped_after(self) -> Iterator[None]:
        """It does nothing meanwhile, and begins to end before it looks at what has come."""
        held, go_on = threading.Event(), threading.Event()

        async def tick(counter: int) -> bool:
            held.set()
            go_on.wait(PATIENCE_S)
            return True

        self.server.on_tick = tick  # type: ignore[method-assign]
        assert held.wait(PATIENCE_S)
        try:
            yield
        finally:
            go_on.set()


@contextmanager
def stoppable(
    instance: Instance, drain_s: float = 10.0, *, read_only: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[Stoppable]:
    """A server of an instance; it has ended after the block."""
    listening = listen("127.0.0.1", 0)
    settings = ServerSettings(live=QUICK, drain_s=drain_s, read_only=read_only)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def note() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()

    server = make_server(create_app(instance, settings), settings, ready=note, tls=tls)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    url = url_of(listening)
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield Stoppable(server, loops[0], thread, url)
    finally:
        server.should_exit = True
        thread.join()


def all_of(connection: sockets.socket) -> bytes:
    """What comes until the connection ends."""
    connection.settimeout(PATIENCE_S)
    return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(connection: sockets.socket) -> None:
    """Ask something, and read the answer."""
    connection.settimeout(PATIENCE_S)
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b'{"status":"ok"}'):
        answer += connection.recv(65536)


def test_whoever_has_connected_is_answered(instance: Instance) -> None:
    """A request that has come when the server is asked to end is answered, whether its connection waits to be accepted,
    has just been, or was kept open; the answer says that the connection ends with it. Nobody connects afterwards."""
    with stoppable(instance) as running, ExitStack() as opened:

        def connection() -> sockets.socket:
            return opened.enter_context(connection_to(running.url))

        accepted, kept = connection(), connection()
        ask(kept)
        with running.stopped_after():
            waiting = [connection() for _ in range(20)]
            for one in (accepted, kept, *waiting):
                one.sendall(REQUEST)
        for one in (accepted, kept, *waiting):
            answer = all_of(one)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
        running.thread.join(PATIENCE_S)
        with pytest.raises(ConnectionRefusedError):
            connection()


def test_whoever_says_nothing_is_not_waited_for(instance: Instance) -> None:
    """A connection without a request holds up the end for a moment only; its client sees it closed, and not reset."""
    with stoppable(instance, drain_s=PATIENCE_S) as running, connection_to(running.url) as silent:
        with connection_to(running.url) as other:
            ask(other)
        running.stop()
        assert all_of(silent) == b""
        running.thread.join(PATIENCE_S / 2)
        assert not running.thread.is_alive()


def test_who_keeps_tls_and_does_not_read_is_not_waited_for(instance: Instance, certificate: tuple[str, str]) -> None:
    """A client that keeps its connection for later, and so doesn't see that its TLS ends, holds up the end for a moment
    only."""
    cert, key = map(Path, certificate)
    trusting = ssl.create_default_context(cafile=cert)
    tls = TlsFiles(cert, key).context()
    with ExitStack() as opened:
        running = opened.enter_context(stoppable(instance, drain_s=PATIENCE_S, tls=tls))
        connection = opened.enter_context(connection_to(running.url))
        kept = opened.enter_context(trusting.wrap_socket(connection, server_hostname="127.0.0.1"))
        ask(kept)
        running.stop()
        running.thread.join(PATIENCE_S / 2)
        assert not running.thread.is_alive()


def test_a_socket_that_is_opened_meanwhile(instance: Instance) -> None:
    """A WebSocket's handshake that waits is accepted, and closed with what says to open another elsewhere."""
    with stoppable(instance) as running, ExitStack() as opened:
        client = ClientProtocol(parse_uri(f"ws{running.url.removeprefix('http')}/graphql"), subprotocols=[TRANSPORT])  # type: ignore[list-item]
        client.send_request(client.connect())
        with running.stopped_after():
            connection = opened.enter_context(connection_to(running.url))
            connection.sendall(b"".join(client.data_to_send()))
        client.receive_data(all_of(connection))
    response, closing = client.events_received()
    assert isinstance(response, Response) and response.status_code == 101
    assert response.headers.get_all("Connection") == ["Upgrade"]
    assert isinstance(closing, Frame) and Close.parse(bytes(closing.data)).code == 1012


def test_a_request_that_takes_too_long(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """What isn't answered in the time that the server lets it finish is answered by an error that says what to do; the
    server's log has a line of it, and no traceback."""
    caplog.set_level(logging.INFO)
    with hanging(instance.runs) as held, ExitStack() as opened:
        parts: Any = {"runs": held}
        running = opened.enter_context(stoppable(replace(instance, **parts), drain_s=1.0, read_only=True))
        with connection_to(running.url) as client:
            body = json.dumps({"query": "{ runsOrError { __typename } }"}).encode()
            head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            held.wait_for_call()
            running.stop()
            answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 503")
    (error,) = json.loads(answer.partition(b"\r\n\r\n")[2])["errors"]
    assert error["extensions"]["code"] == "SERVER_STOPPING"
    assert [record for record in caplog.records if record.exc_info] == []
    assert f"errorId {error['extensions']['errorId']}" in caplog.text


def test_who_asks_twice_is_not_kept_waiting(instance: Instance) -> None:
    """A second Ctrl-C ends the server at once, whatever is under way."""
    head = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with stoppable(instance, drain_s=PATIENCE_S) as running, connection_to(running.url) as client:
        client.sendall(head)
        running.stop()
        running.server.force_exit = True
        running.thread.join(PATIENCE_S / 2)
        assert not running.thread.is_alive()


async def test_a_socket_whose_client_has_gone_is_not_waited_for() -> None:
    """What is still tidied up behind a socket when the server stops ends with its cancellation: its client's end has
    been told, and isn't told a second time."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    told.put_nowait({"type": "websocket.disconnect", "code": 1001})
    tidying, stopping = asyncio.Event(), asyncio.Event()
    scope: dict[str, Any] = {"type": "websocket", "path": "/graphql", "headers": [], "client": None}
    record = begin_request(scope)

    async def socket(scope: Any, receive: Any, send: Any) -> None:
        record.status = (await receive())["code"]
        tidying.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        raise AssertionError(message)

    task = asyncio.create_task(CutOff(socket, stopping=stopping)(scope, told.get, send))
    await tidying.wait()
    stopping.set()
    task.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await task


def test_a_download_that_is_not_read(instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that has begun is cut off so that its client notices: it is shorter than it said. No traceback."""
    create(instance)
    size = 64 * 1024 * 1024
    with (instance.artifacts.folder("run") / "large").open("wb") as file:
        file.truncate(size)
    with stoppable(instance, drain_s=1.0) as running, connection_to(running.url) as client:
        client.sendall(b"GET /runs/run/artifacts/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = client.recv(1024)
        assert got.startswith(b"HTTP/1.1 200") and f"content-length: {size}".encode() in got
        running.stop()
        running.thread.join(PATIENCE_S)
        with suppress(ConnectionResetError):
            got += all_of(client)
    assert len(got) < size
    assert [record.message for record in caplog.records if record.exc_info or "ASGI" in record.message] == []
