"""The clients that front ends use, and the audits of a specification: npm's graphql-sse, graphql-ws, graphql-http and
eventsource, run by Node."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from daglens.instance import Instance
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, create, instance, serve, server, until, write

__all__ = ["instance", "serve", "server"]

pytestmark = pytest.mark.system

NPM = Path(__file__).parents[1] / "npm"
PLAIN = 'subscription { runEvents(runId: "run") { ... on RunEventsBatch { events { seq } } } }'
FEED = {"query": EVENTS, "variables": {"runId": "run"}}
AUDITS = 61


def command(script: str, *arguments: str) -> list[str]:
    """How Node runs a script of tests/npm."""
    node = shutil.which("node")
    assert node, "Node is missing"
    assert (NPM / "node_modules" / "graphql-sse").is_dir(), "run `npm ci` in tests/npm"
    return [node, str(NPM / script), *arguments]


@contextmanager
def told(script: str, *arguments: str) -> Iterator[Iterator[Any]]:
    """What a script tells, as it tells it; after the block it has ended by itself."""
    with subprocess.Popen(
        command(script, *arguments), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as client:
        try:
            assert client.stdout is not None
            yield map(json.loads, client.stdout)
            assert client.wait(timeout=60) == 0
        finally:
            client.kill()


def seqs(message: Any) -> list[int]:
    """Those of a batch."""
    return [event["seq"] for event in message["next"]["data"]["runEvents"]["events"]]


def test_audits(server: LiveServer) -> None:
    """The audits of npm's graphql-http: every one is met, what a server should and may do as well as what it must."""
    found = subprocess.run(
        command("audit.mjs", f"{server.url}/graphql"), stdout=subprocess.PIPE, text=True, timeout=120, check=True
    )
    audits = [json.loads(line) for line in found.stdout.splitlines()]
    print(*(f"{audit['id']} {audit['status']:5} {audit['name']}" for audit in audits), sep="\n")
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == AUDITS


def test_graphql_sse(server: LiveServer, instance: Instance) -> None:
    """npm's graphql-sse: history, live events and the end of a subscription; a query; an operation that is refused."""
    create(instance)
    write(instance, 2)
    with told("graphql_sse.mjs", f"{server.url}/graphql", json.dumps(FEED)) as messages:
        assert seqs(next(messages)) == [1, 2]
        write(instance, 1)
        assert seqs(next(messages)) == [3]
        write(instance, 1, event_type="RUN_SUCCESS")
        assert seqs(next(messages)) == [4]
        assert list(messages) == [{"complete": True}]
    with told("graphql_sse.mjs", f"{server.url}/graphql", json.dumps({"query": "{ __typename }"})) as messages:
        assert list(messages) == [{"next": {"data": {"__typename": "Query"}}}, {"complete": True}]
    with told("graphql_sse.mjs", f"{server.url}/graphql", json.dumps({"query": "{ nothing }"})) as messages:
        refused, end = list(messages)
        assert refused["next"]["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert end == {"complete": True}


def test_graphql_sse_that_leaves(server: LiveServer, instance: Instance) -> None:
    """A client that is killed leaves nothing behind."""
    create(instance)
    with subprocess.Popen(
        command("graphql_sse.mjs", f"{server.url}/graphql", json.dumps(FEED)), stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline()
        client.kill()
    until(lambda: server.on_loop(lambda: server.hub.feeds) == 0)


@pytest.mark.parametrize("parameters", [None, {"token": "x"}], ids=["without", "with parameters"])
def test_graphql_ws(server: LiveServer, instance: Instance, parameters: Any) -> None:
    """npm's graphql-ws: several operations over one socket, of which two can't be executed and none disturbs another;
    the operation's name counts."""
    create(instance)
    write(instance, 2)
    operations = [
        FEED,
        {"query": "subscription {"},
        {"query": "{ nothing }"},
        {"query": "query A { __typename } query B { b: __typename }", "operationName": "B"},
    ]
    socket_url = f"{server.url.replace('http', 'ws', 1)}/graphql"
    with told("graphql_ws.mjs", socket_url, json.dumps(parameters), *map(json.dumps, operations)) as messages:
        by_number: dict[int, list[Any]] = {number: [] for number in range(len(operations))}
        closed = None
        for message in messages:
            if "closed" in message:
                closed = message["closed"]
                break
            by_number[message.pop("number")].append(message)
            # The feed's run ends once the other three have had their answers.
            if sum(map(len, by_number.values())) == 5 and len(by_number[0]) == 1:
                write(instance, 1, event_type="RUN_SUCCESS")
    first, last, end = by_number[0]
    assert (seqs(first), seqs(last), end) == ([1, 2], [3], {"complete": True})
    for number in (1, 2):
        (refused,) = by_number[number]
        assert refused["error"][0]["message"] if isinstance(refused["error"], list) else refused["error"]
    assert by_number[3] == [{"next": {"data": {"b": "Query"}}}, {"complete": True}]
    assert closed == 1000


class Breaking:
    """An address in front of a server at which a test can break every connection."""

    def __init__(self, server: LiveServer) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self._behind = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._behind)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def break_all(self) -> None:
        """Break what is open."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nothing is left open."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.break_all()
        for connection in self._open:
            connection.close()


@pytest.fixture
def breaking(server: LiveServer) -> Iterator[Breaking]:
    """In front of the server."""
    made = Breaking(server)
    yield made
    made.close()


def test_event_source_resumes_by_itself(breaking: Breaking, instance: Instance) -> None:
    """A plain EventSource, whose connection breaks in the middle of a run, goes on behind what it had, though its
    operation selects no cursor and its page does nothing."""
    create(instance)
    write(instance, 2)
    with told("event_source.mjs", f"{breaking.url}/graphql?{urlencode({'query': PLAIN})}") as messages:
        assert seqs(next(messages)) == [1, 2]
        breaking.break_all()
        assert "error" in next(messages)
        write(instance, 3)
        write(instance, 1, event_type="RUN_SUCCESS")
        *rest, end = list(messages)
        assert [seq for message in rest for seq in seqs(message)] == [3, 4, 5, 6]
        assert end == {"complete": True}
