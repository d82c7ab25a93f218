"""GraphQL over HTTP."""

from __future__ import annotations

import json
import socket as sockets
import threading
from typing import Any

import httpx
import pytest

from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.resolvers.live import LiveHub
from daglens.storage.records import NewRun
from daglens.testing.server import LiveServer
from tests.server.conftest import Serve, create, until, write

GRAPHQL = "application/graphql-response+json"
JSON = {"content-type": "application/json"}


def post(http: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    """Post a JSON value, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post("/graphql", content=content, headers={**JSON, **headers})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"query": "{version}"',
        b"null",
        b"17",
        b'"query"',
        b"[]",
        b'[{"query": "{version}"}]',
        b'{"query": 17}',
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": ["{version}"]}',
        b'{"query": {"a": 1}}',
        b'{"query": "{version}", "variables": []}',
        b'{"query": "{version}", "variables": "{}"}',
        b'{"query": "{version}", "variables": 3}',
        b'{"query": "{version}", "operationName": 3}',
        b'{"query": "{version}", "extensions": []}',
        b'{"query": "{version}", "variables": {"a": NaN}}',
        b'{"query": "{version} \xff"}',
        b"[" * 100_000,
        b'{"query": "{version}", "variables": {"n": ' + b"9" * 10_000 + b"}}",
        b'{"query": "query A {version}", "operationName": "B"}',
        b'{"query": "# nothing"}',
        b'{"query": "subscription { runs { __typename } }"}',
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
def test_malformed_requests(shared_http: httpx.Client, body: bytes) -> None:
    """What is no GraphQL request is a 4xx with a GraphQL error that says so; never a 500, never a stack."""
    for accept in ("application/json", GRAPHQL):
        answer = post(shared_http, body, accept=accept)
        assert 400 <= answer.status_code < 500 or (answer.status_code == 200 and b"# nothing" in body), answer.text
        error = answer.json()["errors"][0]
        assert error["extensions"]["code"]
        assert "Traceback" not in answer.text
        assert 'File "' not in answer.text


def test_content_types(shared_http: httpx.Client) -> None:
    """Only JSON bodies in UTF-8 are taken: a form or a plain text, which any site can send, is not."""
    body = b'{"query": "{version}"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text/json"):
        assert shared_http.post("/graphql", content=body, headers={"content-type": kind}).status_code == 415
    assert shared_http.post(
        "/graphql", content=body, headers={"content-type": "application/json; charset=latin-1"}
    ).is_error
    for kind in ("application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'):
        assert shared_http.post("/graphql", content=body, headers={"content-type": kind}).json()["data"]["version"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        (GRAPHQL, GRAPHQL),
        ("application/json;q=0.5, application/graphql-response+json", GRAPHQL),
        ("application/json, application/graphql-response+json;q=0.5", "application/json"),
        ("text/html, application/graphql-response+json;q=0.1", GRAPHQL),
        ("text/html", None),
        ("application/json;q=0", None),
        (";;;,", None),
    ],
)
def test_negotiation(shared_http: httpx.Client, accept: str | None, expected: str | None) -> None:
    """The answer's type is the preferred one of those we have; 406 when there is none."""
    request = shared_http.build_request("POST", "/graphql", json={"query": "{version}"})
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = shared_http.send(request)
    if expected is None:
        assert answer.status_code == 406
    else:
        assert answer.headers["content-type"] == f"{expected}; charset=utf-8"


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{"},
        {"query": "{ nothing }"},
        {"query": "query A { version } query B { version }"},
        {"query": "query($id: ID!) { runOrError(runId: $id) { __typename } }", "variables": {"id": None}},
    ],
)
def test_rejected_documents(shared_http: httpx.Client, body: dict[str, Any]) -> None:
    """A document that can't be executed: 400 without `data` in GraphQL's own type, 200 in plain JSON."""
    strict, plain = post(shared_http, body, accept=GRAPHQL), post(shared_http, body, accept="application/json")
    assert (strict.status_code, plain.status_code) == (400, 200)
    assert "data" not in strict.json()
    assert plain.json()["data"] is None
    assert strict.json()["errors"][0]["extensions"]["errorId"]


def test_get(shared_http: httpx.Client) -> None:
    """Queries are taken over GET, with variables as JSON text; mutations and subscriptions aren't."""
    document = "query Q($n: Int!) { runsOrError(limit: $n) { __typename } } query R { version }"
    answer = shared_http.get("/graphql", params={"query": document, "variables": '{"n": 1}', "operationName": "Q"})
    assert answer.json() == {"data": {"runsOrError": {"__typename": "RunPage"}}}
    assert (
        shared_http.get("/graphql", params={"query": document, "variables": "{", "operationName": "Q"}).status_code
        == 400
    )
    assert shared_http.get("/graphql").status_code == 400
    refused = shared_http.get("/graphql", params={"query": "mutation { terminateRun(runId: 1) { __typename } }"})
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert shared_http.get("/graphql", params={"query": "subscription { runs { __typename } }"}).status_code == 400
    assert shared_http.put("/graphql").status_code == 405


def test_endpoint_in_a_browser(shared_http: httpx.Client) -> None:
    """Who opens the endpoint in a browser is sent to GraphiQL."""
    answer = shared_http.get("/graphql", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/graphiql")


def test_body_size(serve: Serve) -> None:
    """A body above the limit is refused, whether it says its size or not."""
    server = serve(limits=Limits(max_body_bytes=2000))
    big = json.dumps({"query": "{version}", "x": "x" * 5000}).encode()
    with httpx.Client(base_url=server.url) as http:
        for content in (big, iter([big[:3000], big[3000:]])):
            answer = http.post("/graphql", content=content, headers=JSON)
            assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (413, "BODY_TOO_LARGE")
        assert post(http, {"query": "{version}"}).status_code == 200


def test_values_json_can_hardly_say(http: httpx.Client, instance: Instance) -> None:
    """Integers beyond 64 bits and odd text in a configuration come out as they went in; NUL harms nobody."""
    config = {"big": 2**70, "text": "żółw \u2028 🐢", "deep": [[[{}]]]}
    instance.create_run(NewRun("run", "nightly", run_config=config))
    answer = post(http, {"query": '{ runOrError(runId: "run") { ... on Run { runConfig } } }'})
    assert answer.json()["data"]["runOrError"]["runConfig"] == config
    odd = {"query": "query($id: ID!) { runOrError(runId: $id) { __typename } }", "variables": {"id": "\0 \ud800"}}
    assert post(http, odd).json()["data"]["runOrError"] == {"__typename": "RunNotFoundError"}


def test_bugs_are_masked(http: httpx.Client, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails inside says neither what nor where; the errorId leads to the log."""

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the password is quux")

    monkeypatch.setattr(type(instance.runs), "count", fail)
    answer = post(http, {"query": "{ runCountOrError { __typename } version }"})
    error = answer.json()["errors"][0]
    assert error["extensions"]["code"] == "STORAGE_UNAVAILABLE"
    assert error["extensions"]["errorId"]
    assert "quux" not in answer.text
    assert answer.json()["data"]["version"]


LONG_POLL = """query($runId: ID!, $after: Cursor) {
  runEventsOrError(runId: $runId, after: $after, waitSeconds: 20) { ... on EventPage { nodes { seq } cursor } }
}"""


def test_long_poll_is_woken(server: LiveServer, http: httpx.Client, instance: Instance) -> None:
    """A long poll waits on the event loop and answers with the first new event."""
    create(instance)
    answers: list[Any] = []
    body = {"query": LONG_POLL, "variables": {"runId": "run"}}
    threads = [threading.Thread(target=lambda: answers.append(post(http, body).json())) for _ in range(64)]
    for thread in threads:
        thread.start()
    until(lambda: server.on_loop(lambda: server.hub.viewers) == 64)
    assert post(http, {"query": "{version}"}).status_code == 200
    write(instance)
    for thread in threads:
        thread.join()
    assert [answer["data"]["runEventsOrError"]["nodes"] for answer in answers] == [[{"seq": 1}]] * 64
    until(lambda: server.on_loop(lambda: server.hub.feeds) == 0)


def test_long_poll_of_somebody_who_left(
    server: LiveServer, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that goes away in the middle of a long poll leaves nothing, long before its time is up."""
    wait = LiveHub.wait_for_events
    monkeypatch.setattr(LiveHub, "wait_for_events", lambda hub, run_id, seq, time_s: wait(hub, run_id, seq, 3600.0))
    create(instance)
    body = json.dumps({"query": LONG_POLL, "variables": {"runId": "run"}}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with sockets.create_connection((host, int(port))) as connection:
        head = f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: server.on_loop(lambda: server.hub.viewers) == 1)
    until(lambda: server.on_loop(lambda: server.hub.feeds) == 0)
