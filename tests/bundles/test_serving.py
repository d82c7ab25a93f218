"""A bundle behind the API: what a client sees of the run is what it sees of the instance that the run came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from daglens.bundles.serving import open_bundles
from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.testing.server import LiveServer, serve_in_thread
from tests.api import operations
from tests.api.test_operations import CALLS, ENDLESS, is_implemented
from tests.bundles.conftest import RUN
from tests.live.conftest import QUICK
from tests.server.conftest import opened

SETTINGS = ServerSettings(live=QUICK, drain_s=2.0, read_only=True)
# What a bundle doesn't hold (docs/bundles.md), what stands for a place in one log, and the clock.
OWN = {"cursor", "startCursor", "updatedAt", "lastHeardAt", "artifacts", "now", "path"}


@pytest.fixture
def live(source: Instance) -> Iterator[LiveServer]:
    """The instance that the run is recorded in, served."""
    with serve_in_thread(source, SETTINGS) as server:
        yield server


@pytest.fixture
def bundled(file) -> Iterator[LiveServer]:
    """Its bundle, served."""
    with open_bundles([file]) as bundles, serve_in_thread(bundles, SETTINGS) as server:
        yield server


def compared(value: Any) -> Any:
    """An answer without what is each instance's own."""
    if isinstance(value, dict):
        # Why a log is missing is told in words of the storage beside the reason.
        own = OWN | {"message"} if "reason" in value else OWN
        return {key: compared(part) for key, part in value.items() if key not in own}
    return [compared(part) for part in value] if isinstance(value, list) else value


def calls(kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """File, operation and variables of the contract's operations of a kind."""
    found = []
    for name in operations.names():
        for operation, definition in operations.operations(name).items():
            if definition.operation.value == kind and is_implemented(definition) and operation != "InstancePage":
                found += [(name, operation, variables) for variables in CALLS[operation]]
    return found


def test_every_query_has_the_same_answer(live, bundled):
    """All queries of the contract: lists, filters, events, steps, logs, and the errors of wrong ones."""
    asked = calls("query")
    assert len(asked) > 10
    with httpx.Client(base_url=live.url, timeout=60) as one, httpx.Client(base_url=bundled.url, timeout=60) as other:
        for name, operation, variables in asked:
            body = {"query": operations.text(name), "variables": variables, "operationName": operation}
            theirs, ours = (client.post("/graphql", json=body).json() for client in (one, other))
            assert compared(ours) == compared(theirs), operation
            assert "errors" not in ours


def test_feeds_reach_the_end(live, bundled):
    """Events and output of a run that has ended come whole over a subscription, which then ends."""
    asked = [call for call in calls("subscription") if call[1] not in ENDLESS]
    assert len(asked) > 2
    for name, operation, variables in asked:
        payloads = []
        for server in (live, bundled):
            with opened(server) as socket:
                socket.start(operations.text(name), variables=variables, operationName=operation)
                payloads.append(compared(socket.results()))
        assert payloads[0] == payloads[1], operation
        assert payloads[1]


def without_ids(answer: str) -> str:
    """An answer without the id that leads to its line in the server's log."""
    return re.sub(r'"errorId":"[0-9a-f-]+"', "", answer)


def test_downloads_by_ranges(live, bundled):
    """Logs can be fetched whole and in part; artifacts are not there."""
    path = f"/runs/{RUN}/compute-logs/extract/stderr"
    for headers in ({}, {"range": "bytes=1-3"}, {"range": "bytes=-2"}, {"range": "bytes=100-"}):
        theirs, ours = (httpx.get(server.url + path, headers=headers) for server in (live, bundled))
        assert (ours.status_code, without_ids(ours.text)) == (theirs.status_code, without_ids(theirs.text))
    assert httpx.get(f"{live.url}/runs/{RUN}/artifacts/report.html").status_code == 200
    assert httpx.get(f"{bundled.url}/runs/{RUN}/artifacts/report.html").status_code == 404


def test_ready_until_the_file_changes(bundled, file):
    """`/readyz` says which file is not what it was."""
    assert httpx.get(f"{bundled.url}/readyz").status_code == 200
    file.write_bytes(file.read_bytes()[:-1])
    answer = httpx.get(f"{bundled.url}/readyz")
    assert answer.status_code == 503
    assert "was changed after it was opened" in answer.text
