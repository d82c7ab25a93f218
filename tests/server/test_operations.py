"""The contract's operations over the wire: queries over HTTP and sockets, subscriptions over both socket protocols."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from daglens import upkeep
from daglens.instance import Instance
from daglens.storage.records import EventDraft, NewRun
from daglens.testing.server import LiveServer
from tests.api import history, operations
from tests.api.operations import Leaves
from tests.api.test_operations import CALLS, ENDLESS, is_implemented
from tests.server.conftest import LEGACY, TRANSPORT, Socket, opened


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance in files, with a history that has everything."""
    with Instance.open(home=tmp_path / "home") as made:
        history.record(made)
        yield made


@pytest.mark.parametrize("transport", ["POST", "GET", TRANSPORT, LEGACY])
def test_every_operation(server: LiveServer, instance: Instance, transport: str) -> None:
    """Every operation that uses working fields is answered without errors; its leaves are seen with values."""
    leaves = Leaves(server.app.state.served.schema._schema)
    protocol = transport if transport in (TRANSPORT, LEGACY) else TRANSPORT
    with httpx.Client(base_url=server.url, timeout=60) as http, opened(server, protocol) as socket:
        for name in operations.names():
            document = operations.text(name)
            for operation, definition in operations.operations(name).items():
                if not is_implemented(definition):
                    continue
                asked = leaves.asking(document)
                for variables in CALLS[operation]:
                    body = {"query": asked, "variables": variables, "operationName": operation}
                    if transport in ("POST", "GET") and definition.operation.value == "query":
                        payloads = [over_http(http, transport, body)]
                    else:
                        socket.start(asked, variables=variables, operationName=operation)
                        payloads = first_results(socket) if operation in ENDLESS else socket.results()
                    assert payloads
                    for payload in payloads:
                        assert "errors" not in payload
                        leaves.note(document, operation, payload["data"])
        leaves_of_a_deletion(socket, instance, leaves)
    # The only leaf that needs an ill storage; tests/api shows it.
    assert {leaf for leaf in leaves.all - leaves.seen if "problem" not in str(leaf)} == set()


def first_results(socket: Socket) -> list[Any]:
    """The first payload of a feed without an end, which is then ended; or all, when it only says why there is none."""
    payload = socket.result()
    if payload["data"]["runs"]["__typename"] == "RunsBatch":
        socket.send({"type": socket.stop_type, "id": "1"})
        return [payload]
    return [payload, *socket.results()]


def over_http(http: httpx.Client, method: str, body: dict[str, Any]) -> Any:
    """The answer by POST or GET."""
    if method == "POST":
        return http.post("/graphql", json=body).json()
    return http.get("/graphql", params={**body, "variables": json.dumps(body["variables"])}).json()


def leaves_of_a_deletion(socket: Socket, instance: Instance, leaves: Leaves) -> None:
    """A run that is deleted while it is watched."""
    document = operations.text("run-events-live.graphql")
    instance.create_run(NewRun("going", "p"))
    instance.append("going", [EventDraft("RUN_START")])
    socket.start(leaves.asking(document), variables={"runId": "going"})
    leaves.note(document, "RunEventsLive", socket.result()["data"])
    upkeep.delete_run(instance, "going")
    last = socket.results()[-1]["data"]
    assert last["runEvents"]["__typename"] == "RunDeleted"
    leaves.note(document, "RunEventsLive", last)
