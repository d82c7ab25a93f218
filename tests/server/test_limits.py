"""Every limit is met on every transport, with its code; what front ends send meets none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daglens.access import Role
from daglens.access.token_file import add_token
from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.server.connections import client_address
from daglens.server.limit_table import LIMITS
from daglens.server.settings import ServerSettings
from daglens.storage.sqlite import SqliteDatabase
from daglens.testing.server import LiveServer, serve_in_thread
from tests.live.conftest import QUICK
from tests.server.conftest import EVENTS, LEGACY, PATIENCE_S, TRANSPORT, create, opened, until, write

HTTP, SSE = "HTTP", "SSE"
TRANSPORTS = (HTTP, SSE, TRANSPORT, LEGACY)
RUNS = "query Q($limit: Int! = 25) { runsOrError(limit: $limit) { ... on RunPage { nodes { runId } hasMore } } }"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


# ---------------------------------------------------------------- one operation by each transport


def answer_of(transport: str, server: LiveServer, query: str, **variables: Any) -> dict[str, Any]:
    """The first result, or the errors in its place: `{"errors": […]}`; a socket's close code, a status of HTTP."""
    if transport in (HTTP, SSE):
        return by_http(server, query, variables, stream=transport == SSE)
    try:
        with opened(server, transport) as socket:
            socket.start(query, variables=variables)
            message = socket.receive()
    except InvalidStatus as refused:
        return {"status": refused.response.status_code, **json.loads(refused.response.body or b"{}")}
    except ConnectionClosed as closed:
        return {"closed": closed.rcvd.code if closed.rcvd else None}
    payload = message["payload"]
    return {"errors": payload if isinstance(payload, list) else [payload]} if message["type"] == "error" else payload


def by_http(server: LiveServer, query: str, variables: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    headers = {"accept": "text/event-stream"} if stream else {}
    body = {"query": query, "variables": variables}
    with httpx.stream("POST", f"{server.url}/graphql", json=body, headers=headers, timeout=PATIENCE_S) as answer:
        if not stream or answer.status_code != 200:
            answer.read()
            return {"status": answer.status_code, **answer.json()}
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                payload: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return payload
    raise AssertionError("The stream ended without a word.")


def code_of(answer: dict[str, Any]) -> str:
    """What a client is told."""
    if "closed" in answer:
        return f"closed {answer['closed']}"
    status = f"{answer['status']} " if answer.get("status", 200) != 200 else ""
    errors = answer.get("errors") or [{}]
    return status + str(errors[0].get("extensions", {}).get("code", "no error"))


# ---------------------------------------------------------------- each limit


Case = Callable[[str, LiveServer], str]


def sends(query: str, **variables: Any) -> Case:
    """What an operation is told."""
    return lambda transport, server: code_of(answer_of(transport, server, query, **variables))


def page(transport: str, server: LiveServer) -> str:
    """How large a page is that should be larger."""
    found = answer_of(transport, server, RUNS, limit=1000)["data"]["runsOrError"]
    return f"{len(found['nodes'])} nodes" + (", hasMore" if found["hasMore"] else "")


def second_operation(transport: str, server: LiveServer) -> str:
    """What a second operation on the same connection is told."""
    if transport in (HTTP, SSE):
        headers = {"accept": "text/event-stream"} if transport == SSE else {}
        batch = [{"query": "{ version }"}] * 2
        answer = httpx.post(f"{server.url}/graphql", json=batch, headers=headers, timeout=PATIENCE_S)
        return code_of({"status": answer.status_code, **answer.json()})
    with opened(server, transport) as socket:
        socket.start(EVENTS, id="first", variables={"runId": "run"})
        socket.result("first")
        socket.start("{ version }", id="second")
        message = socket.receive()
        assert (message["type"], message["id"]) == ("error", "second")
        payload = message["payload"]
        return code_of({"errors": payload if isinstance(payload, list) else [payload]})


def second_connection(transport: str, server: LiveServer) -> str:
    """What a second client of one address is told."""
    with ExitStack() as first:
        until(lambda: is_open(first, server))
        return code_of(answer_of(transport, server, "{ version }"))


def is_open(stack: ExitStack, server: LiveServer) -> bool:
    """Open a socket; False while one that was closed just now still counts."""
    try:
        stack.enter_context(opened(server))
    except InvalidStatus:
        return False
    return True


CASES: dict[str, tuple[Case, str | dict[str, str]]] = {
    "max_document_chars": (
        sends("{ version } #" + "x" * 300),
        {HTTP: "413 DOCUMENT_TOO_LONG", SSE: "413 DOCUMENT_TOO_LONG"}
        | dict.fromkeys((TRANSPORT, LEGACY), "DOCUMENT_TOO_LONG"),
    ),
    "max_tokens": (sends("{ " + "version " * 40 + "}"), "TOO_MANY_TOKENS"),
    "max_depth": (sends("{ instance { runStorage { module } } }"), "TOO_DEEP"),
    "max_aliases": (sends("{ a: version b: version ...F } fragment F on Query { c: version }"), "TOO_MANY_ALIASES"),
    "max_root_fields": (sends("{ version now pipelineNames }"), "TOO_MANY_ROOT_FIELDS"),
    "max_cost": (sends(RUNS, limit=100), "TOO_COSTLY"),
    "max_page": (page, "3 nodes, hasMore"),
    "max_answer_bytes": (sends("{ __schema { types { name } } }"), "ANSWER_TOO_LARGE"),
    "max_body_bytes": (
        sends(RUNS + " " * 3000),
        {HTTP: "413 BODY_TOO_LARGE", SSE: "413 BODY_TOO_LARGE", TRANSPORT: "closed 1009", LEGACY: "closed 1009"},
    ),
    "max_operation_s": (
        sends('{ runEventsOrError(runId: "run", waitSeconds: 25) { __typename } }'),
        "OPERATION_TIMEOUT",
    ),
    "statement_timeout_s": (sends(RUNS), "STORAGE_UNAVAILABLE"),
    "max_operations": (
        second_operation,
        {HTTP: "400 BAD_REQUEST", SSE: "400 BAD_REQUEST"} | dict.fromkeys((TRANSPORT, LEGACY), "TOO_MANY_OPERATIONS"),
    ),
    "max_connections": (second_connection, "429 TOO_MANY_CONNECTIONS"),
    "max_client_bytes": (
        sends(RUNS + " " * 3000),
        {HTTP: "429 TOO_MANY_BYTES", SSE: "429 TOO_MANY_BYTES"} | dict.fromkeys((TRANSPORT, LEGACY), "TOO_MANY_BYTES"),
    ),
    "max_held_bytes": (
        sends(RUNS + " " * 3000),
        {HTTP: "503 SERVER_FULL", SSE: "503 SERVER_FULL"} | dict.fromkeys((TRANSPORT, LEGACY), "SERVER_FULL"),
    ),
}
LOW: dict[str, float] = {
    "max_document_chars": 300,
    "max_tokens": 30,
    "max_depth": 2,
    "max_aliases": 2,
    "max_root_fields": 2,
    "max_cost": 50,
    "max_answer_bytes": 300,
    "max_body_bytes": 2000,
    "max_operation_s": 0.1,
    "max_operations": 1,
    "max_connections": 1,
    "max_client_bytes": 2000,
    "max_held_bytes": 2000,
}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """One with four runs, small pages and SQLite files."""
    (tmp_path / "dagster.yaml").write_text(
        """
run_storage: {module: daglens.storage.sqlite, class: SqliteRunStorage, config: &quick {statement_timeout_s: 0.1}}
event_log_storage: {module: daglens.storage.sqlite, class: SqliteEventLogStorage, config: *quick}
daglens: {limits: {max_page: 3}}
"""
    )
    with Instance.open(home=tmp_path) as opened_instance:
        for name in ("run", "b", "c", "d"):
            create(opened_instance, name)
        yield opened_instance


@contextmanager
def served(instance: Instance, **low: float) -> Iterator[LiveServer]:
    limits = dataclasses.replace(Limits(), **low)  # type: ignore[arg-type]
    with serve_in_thread(instance, ServerSettings(limits=limits, live=QUICK, drain_s=2.0)) as server:
        yield server


def test_every_limit_on_every_transport(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each limit is met over HTTP, Server-Sent Events and both WebSocket protocols, with the code that is documented;
    turned off, it isn't."""
    assert set(CASES) == {limit.setting for limit in LIMITS}
    table: dict[str, dict[str, str]] = {}
    for limit in LIMITS:
        case, expected = CASES[limit.setting]
        low = {limit.setting: LOW[limit.setting]} if limit.setting in LOW else {}
        with ExitStack() as around:
            if limit.setting == "statement_timeout_s":
                slow = around.enter_context(monkeypatch.context())
                slow.setattr(SqliteDatabase, "read", slowly(SqliteDatabase.read))
            server = around.enter_context(served(instance, **low))
            table[limit.setting] = {transport: case(transport, server) for transport in TRANSPORTS}
        told = dict.fromkeys(TRANSPORTS, expected) if isinstance(expected, str) else expected
        assert table[limit.setting] == told, limit.setting
        assert limit.code is None or any(limit.code in seen for seen in told.values())
    with capsys.disabled():
        print(f"\n\n{'':20}" + "".join(f"{transport:>26}" for transport in TRANSPORTS))
        for setting, row in table.items():
            print(f"{setting:20}" + "".join(f"{row[transport]:>26}" for transport in TRANSPORTS))


@pytest.mark.parametrize(
    ("setting", "transports"),
    [("max_tokens", TRANSPORTS), ("max_document_chars", TRANSPORTS), ("max_body_bytes", (HTTP, SSE))],
)
def test_programs_are_told_the_limit(instance: Instance, setting: str, transports: tuple[str, ...]) -> None:
    """As a number, not in a sentence alone, also by what is refused before anything is executed."""
    queries = {"max_tokens": "{ " + "version " * 40 + "}", "max_document_chars": "{ version } #" + "x" * 300}
    with served(instance, **{setting: LOW[setting]}) as server:
        for transport in transports:
            answer = answer_of(transport, server, queries.get(setting, RUNS + " " * 3000))
            assert answer["errors"][0]["extensions"]["limit"] == LOW[setting], transport


def slowly(read: Callable[..., Any]) -> Callable[..., Any]:
    """A database whose every read begins with a statement that never ends."""

    def slow(self: SqliteDatabase, work: Callable[[Any], Any], **options: Any) -> Any:
        return read(self, lambda connection: (connection.execute(ENDLESS).fetchone(), work(connection))[1], **options)

    return slow


def test_limits_that_are_off(instance: Instance) -> None:
    """0 turns each of them off."""
    with served(instance, **dict.fromkeys(LOW, 0)) as server, opened(server):
        for setting in LOW.keys() - {"max_operation_s", "max_operations", "max_connections"}:
            for transport in TRANSPORTS:
                assert CASES[setting][0](transport, server) == "no error"
        with opened(server) as socket:
            for number in range(150):
                socket.start(EVENTS, id=str(number), variables={"runId": "run"})
            for _ in range(150):
                assert socket.receive()["type"] == "next"


@pytest.mark.parametrize("transport", TRANSPORTS[1:])
def test_a_message_of_a_subscription_that_is_too_large(instance: Instance, transport: str) -> None:
    """The subscription ends with the error. Over Server-Sent Events the message has no id: a client that resumes does
    so in front of what it missed."""
    write(instance, 100)
    with served(instance, max_answer_bytes=1000) as server:
        assert sends(EVENTS, runId="run")(transport, server) == "ANSWER_TOO_LARGE"
        if transport == SSE:
            body = {"query": EVENTS, "variables": {"runId": "run"}}
            answer = httpx.post(
                f"{server.url}/graphql", json=body, headers={"accept": "text/event-stream"}, timeout=PATIENCE_S
            )
            assert "\nid:" not in answer.text
            assert answer.text.endswith("event: complete\ndata: \n\n")
        else:
            with opened(server, transport) as socket:
                socket.start(EVENTS, variables={"runId": "run"})
                (result,) = socket.results()
                assert result["data"] is None


def test_a_socket_counts_for_who_speaks(instance: Instance, tmp_path: Path) -> None:
    """Behind one address each token has connections of its own; one more than it may have is closed with 1013, also on
    a socket that was let in by its address."""
    file = tmp_path / "tokens"
    alice, bob = (add_token(file, name, Role.VIEWER) for name in ("alice", "bob"))
    settings = ServerSettings(limits=Limits(max_connections=2), live=QUICK, tokens=file, drain_s=2.0)
    with serve_in_thread(instance, settings) as server, ExitStack() as sockets:
        for token in (alice, alice, bob):
            sockets.enter_context(opened(server, init=False)).init(payload={"Authorization": f"Bearer {token}"})
        third = sockets.enter_context(opened(server, init=False))
        third.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {alice}"}})
        assert third.close_code() == 1013
        headers = {"authorization": f"Bearer {alice}"}
        refused = httpx.post(f"{server.url}/graphql", json={"query": "{version}"}, headers=headers, timeout=PATIENCE_S)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        headers = {"authorization": f"Bearer {bob}"}
        answer = httpx.post(f"{server.url}/graphql", json={"query": "{version}"}, headers=headers, timeout=PATIENCE_S)
        assert answer.json()["data"]["version"]
        assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE_S).status_code == 200


def test_places_are_given_back(instance: Instance) -> None:
    """However a connection ends, it counts no more."""
    with served(instance, max_connections=2) as server:
        for _ in range(20):
            with ExitStack() as first:
                until(lambda first=first: is_open(first, server))  # type: ignore[misc]
                answer = httpx.post(f"{server.url}/graphql", content=b"{", timeout=PATIENCE_S)
                assert answer.status_code in (415, 429)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.2.3.4", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "198.51.100.1", "2001:db8:1:2::/64"),
    ],
)
def test_whose_address_counts(peer: str, forwarded: str, expected: str) -> None:
    """The last address that is no proxy's; what stands before it anybody may have written."""
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope = {"client": (peer, 1), "headers": headers}
    assert client_address(scope, [ip_network("10.0.0.0/8")]) == expected
