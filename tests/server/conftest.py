"""A real server on a free port, an HTTP client and sockets that speak its protocols."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.records import EventDraft, NewRun
from daglens.testing.server import LiveServer, serve_in_thread
from tests.live.conftest import QUICK

Serve = Callable[..., LiveServer]
TRANSPORT, LEGACY = "graphql-transport-ws", "graphql-ws"
PATIENCE_S = 60


def until(condition: Callable[[], bool]) -> None:
    """Wait for what the server brings about; pytest's own limit ends a wait for what never comes."""
    while not condition():
        time.sleep(0.005)


@pytest.fixture
def instance() -> Iterator[Instance]:
    """An instance in memory."""
    with Instance.ephemeral() as opened:
        yield opened


@pytest.fixture
def serve(instance: Instance) -> Iterator[Serve]:
    """Starts servers of this test; settings are those of ServerSettings, live feeds are quick."""
    with ExitStack() as running:

        def start(served: Instance | None = None, **settings: Any) -> LiveServer:
            chosen = replace(ServerSettings(live=QUICK, drain_s=2.0), **settings)
            return running.enter_context(serve_in_thread(served or instance, chosen))

        yield start


@pytest.fixture
def server(serve: Serve) -> LiveServer:
    """A server of the instance."""
    return serve()


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def shared_server() -> Iterator[LiveServer]:
    """A server for tests that change nothing; one a module."""
    with Instance.ephemeral() as opened, serve_in_thread(opened, ServerSettings(live=QUICK, drain_s=2.0)) as server:
        yield server


@pytest.fixture(scope="module")
def shared_http(shared_server: LiveServer) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=shared_server.url, timeout=PATIENCE_S) as client:
        yield client


def create(instance: Instance, run_id: str = "run") -> str:
    """Add a run."""
    instance.create_run(NewRun(run_id, "nightly"))
    return run_id


def write(instance: Instance, count: int = 1, run_id: str = "run", event_type: str = "LOG_MESSAGE") -> None:
    """Append events."""
    instance.append(run_id, [EventDraft(event_type, message=f"m{n}") for n in range(count)])


class Socket:
    """A WebSocket of one of the two protocols."""

    def __init__(self, connection: ClientConnection, protocol: str) -> None:
        self.connection = connection
        self.start_type, self.result_type = ("subscribe", "next") if protocol == TRANSPORT else ("start", "data")
        self.stop_type = "complete" if protocol == TRANSPORT else "stop"

    def send(self, message: Any) -> None:
        """Send JSON."""
        self.connection.send(json.dumps(message))

    def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=PATIENCE_S))
        return message

    def init(self, **message: Any) -> None:
        """Begin, and see it acknowledged."""
        self.send({"type": "connection_init", **message})
        assert self.receive()["type"] == "connection_ack"

    def start(self, query: str, id: str = "1", **payload: Any) -> None:
        """Begin an operation."""
        self.send({"type": self.start_type, "id": id, "payload": {"query": query, **payload}})

    def result(self, id: str = "1") -> dict[str, Any]:
        """The payload of the next message, which must be a result."""
        message = self.receive()
        assert (message["type"], message["id"]) == (self.result_type, id), message
        payload: dict[str, Any] = message["payload"]
        return payload

    def results(self, id: str = "1") -> list[dict[str, Any]]:
        """Payloads up to the operation's end."""
        payloads = []
        while (message := self.receive())["type"] == self.result_type:
            assert message["id"] == id
            payloads.append(message["payload"])
        assert message == {"type": "complete", "id": id}
        return payloads

    def close_code(self) -> int | None:
        """Read to the end; the code it was closed with."""
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                self.connection.recv(timeout=PATIENCE_S)
        except ConnectionClosed:
            return self.connection.protocol.close_code


@contextmanager
def opened(server: LiveServer, protocol: str = TRANSPORT, *, init: bool = True, **options: Any) -> Iterator[Socket]:
    """A socket; acknowledged unless `init` is False."""
    options = {"compression": None, "max_size": None, "proxy": None, **options}
    with connect(server.socket_url, subprotocols=[protocol], **options) as connection:  # type: ignore[list-item]
        socket = Socket(connection, protocol)
        if init:
            socket.init()
        yield socket


@pytest.fixture(params=[TRANSPORT, LEGACY])
def socket(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Socket]:
    """An acknowledged socket, once by each protocol."""
    with opened(server, request.param) as made:
        yield made


OPERATIONS = Path(__file__).parent.parent / "contract" / "operations"
EVENTS = "subscription($runId: ID!, $after: Cursor) { runEvents(runId: $runId, after: $after) { __typename ... on \
RunEventsBatch { events { seq } cursor throughSeq caughtUp runStatus } ... on Error { code } } }"
Opened = Callable[..., AbstractContextManager[Socket]]
