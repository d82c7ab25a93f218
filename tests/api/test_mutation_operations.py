"""The contract's operations that write, over the wire: each works, and each leaf is seen with a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from daglens.instance import Instance
from daglens.storage.records import EventQuery
from daglens.testing.server import LiveServer, serve_in_thread
from tests.api import operations
from tests.api.operations import Leaves
from tests.server.conftest import LEGACY, TRANSPORT, opened

Send = Callable[[str, str, dict[str, Any]], Any]

RECORD, MANAGE = "record-a-run.graphql", "manage-runs.graphql"
R = {"runId": "r"}
NOBODY = {"runId": "nobody"}
LOG = {"runId": "r", "stepKey": "extract", "ioType": "STDOUT", "offset": "0", "data": "rows: 3\n"}

# The story of a run, told so that every leaf has a value once; what the answer's type is.
STORY: list[tuple[str, str, dict[str, Any], str]] = [
    (RECORD, "CreateRun", {"input": {"runId": "r", "pipelineName": "nightly"}}, "CreateRunSuccess"),
    (RECORD, "CreateRun", {"input": {"runId": "r", "pipelineName": "hourly"}}, "RunConflictError"),
    (RECORD, "Heartbeat", R, "HeartbeatSuccess"),
    (RECORD, "Heartbeat", NOBODY, "RunNotFoundError"),
    (RECORD, "ReportEvents", {**R, "events": [{"eventType": "RUN_START"}]}, "ReportEventsSuccess"),
    (RECORD, "ReportEvents", {**R, "events": [{"eventType": "STEP_START"}]}, "InvalidInputError"),
    (RECORD, "AppendComputeLog", {"input": LOG}, "AppendComputeLogSuccess"),
    (RECORD, "AppendComputeLog", {"input": {**LOG, "offset": "9"}}, "ComputeLogOffsetError"),
    (MANAGE, "AddRunTags", {**R, "tags": [{"key": "team", "value": "core"}]}, "AddRunTagsSuccess"),
    (MANAGE, "AddRunTags", {**NOBODY, "tags": []}, "RunNotFoundError"),
    (MANAGE, "DeleteRuns", {"filter": {"pipelineNames": ["nightly"]}}, "DeleteRunsSuccess"),
    (MANAGE, "TerminateRun", R, "TerminateRunSuccess"),
    (RECORD, "ReportEvents", {**R, "events": [{"eventType": "RUN_CANCELED"}]}, "ReportEventsSuccess"),
    (MANAGE, "TerminateRun", R, "RunNotTerminableError"),
    (MANAGE, "DeleteRuns", {"filter": {}}, "InvalidFilterError"),
    (MANAGE, "DeleteRuns", {"filter": {"runIds": ["r"]}, "limit": 1, "dryRun": True}, "DeleteRunsSuccess"),
    (MANAGE, "DeleteRuns", {"filter": {"runIds": ["r"]}}, "DeleteRunsSuccess"),
]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An empty instance in files."""
    with Instance.open(home=tmp_path / "home", environ={}) as made:
        yield made


@pytest.fixture
def server(instance: Instance) -> Iterator[LiveServer]:
    """A server of it."""
    with serve_in_thread(instance) as running:
        yield running


@pytest.fixture(params=["POST", TRANSPORT, LEGACY])
def send(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Send]:
    """Sends an operation by one transport, and gives its payload."""
    with ExitStack() as open_:
        if request.param == "POST":
            http = open_.enter_context(httpx.Client(base_url=server.url, timeout=60))

            def over_http(document: str, operation: str, variables: dict[str, Any]) -> Any:
                body = {"query": document, "operationName": operation, "variables": variables}
                return http.post("/graphql", json=body).json()

            yield over_http
        else:
            socket = open_.enter_context(opened(server, request.param))

            def over_socket(document: str, operation: str, variables: dict[str, Any]) -> Any:
                socket.start(document, operationName=operation, variables=variables)
                (payload,) = socket.results()
                return payload

            yield over_socket


def test_every_operation(server: LiveServer, instance: Instance, send: Send) -> None:
    """Each is answered without an entry in errors[], with the type expected, and shows all of its leaves."""
    leaves = Leaves(server.app.state.served.schema._schema)
    for name, operation, variables, expected in STORY:
        document = operations.text(name)
        payload = send(leaves.asking(document), operation, variables)
        assert "errors" not in payload
        answer = payload["data"][operation[0].lower() + operation[1:]]
        assert answer["__typename"] == expected
        leaves.note(document, operation, payload["data"])
    assert sorted(leaves.all - leaves.seen) == []
    assert instance.run("r") is None


def test_the_story_has_every_operation() -> None:
    """No operation of the contract that writes is left out."""
    writing = {
        operation
        for name in operations.names()
        for operation, definition in operations.operations(name).items()
        if definition.operation.value == "mutation"
    }
    assert {operation for _, operation, _, _ in STORY} == writing


def test_what_text_can_t_hold_over_the_wire(server: LiveServer, instance: Instance) -> None:
    """JSON escapes of NUL and of half a surrogate pair arrive, are stored as U+FFFD, and can be answered."""
    with httpx.Client(base_url=server.url, timeout=60) as http:

        def post(document: str, variables: str) -> Any:
            body = '{"query": "%s", "variables": %s}' % (document, variables)  # noqa: UP031 - braces are JSON's
            answer = http.post("/graphql", content=body, headers={"content-type": "application/json"})
            return answer.raise_for_status().json()

        create = "mutation($i: CreateRunInput!) { createRun(input: $i) { __typename } }"
        report = "mutation($r: ID!, $e: [EventInput!]!) { reportEvents(runId: $r, events: $e) { __typename ... on \
Error { message } } }"
        post(create, '{"i": {"runId": "r", "pipelineName": "p"}}')
        answer = post(
            report, '{"r": "r", "e": [{"eventType": "LOG_MESSAGE", "message": "a\\u0000\\ud800\\ud83c\\udf89"}]}'
        )
        assert answer["data"]["reportEvents"] == {"__typename": "ReportEventsSuccess"}
        (event,) = instance.events.read([EventQuery("r")])[0].events
        assert event.message == "a\ufffd\ufffd🎉"
        answer = post(report, '{"r": "\\ud800", "e": []}')
        assert answer["data"]["reportEvents"]["__typename"] == "RunNotFoundError"


def test_mutations_don_t_go_by_get(server: LiveServer, instance: Instance) -> None:
    """A link that somebody clicks changes nothing."""
    query = 'mutation { createRun(input: { runId: "r", pipelineName: "p" }) { __typename } }'
    assert httpx.get(f"{server.url}/graphql", params={"query": query}).status_code == 405
    assert instance.run("r") is None
