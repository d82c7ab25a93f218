"""GraphQL over WebSockets, by both protocols."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import pytest
from strawberry.extensions import SchemaExtension
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from daglens.access import Role
from daglens.access.token_file import add_token
from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.schema.build import build_schema
from daglens.storage.records import EventDraft
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, LEGACY, PATIENCE_S, TRANSPORT, Serve, Socket, create, opened, until, write


def seqs(payload: dict[str, Any]) -> list[int]:
    return [event["seq"] for event in payload["data"]["runEvents"]["events"]]


def test_history_then_live_then_the_end(socket: Socket, instance: Instance) -> None:
    """A subscription delivers what was there, what comes, and completes with the run."""
    create(instance)
    write(instance, 3)
    socket.start(EVENTS, variables={"runId": "run"})
    assert seqs(socket.result()) == [1, 2, 3]
    write(instance, 2)
    assert seqs(socket.result()) == [4, 5]
    write(instance, 1, event_type="RUN_SUCCESS")
    last = socket.results()
    assert [seqs(payload) for payload in last] == [[6]]
    assert last[0]["data"]["runEvents"]["runStatus"] == "SUCCESS"


def test_queries_and_mutations(socket: Socket) -> None:
    """Queries and mutations run over a socket too, several at once."""
    socket.start("{ version }", id="a")
    socket.start("query A { version } query B { now }", id="b", operationName="B")
    got = sorted((socket.receive() for _ in range(4)), key=lambda message: (message["id"], message["type"]))
    data = {message["id"]: message["payload"]["data"] for message in got if "payload" in message}
    assert set(data["a"]) == {"version"}
    assert set(data["b"]) == {"now"}  # operationName counts (weaknesses 48)
    assert [message["type"] for message in got].count("complete") == 2


def test_extensions_of_a_request(socket: Socket, server: LiveServer) -> None:
    """`extensions` of an operation reach what looks at them, as over HTTP (weaknesses 37)."""
    server.app.state.served.schema = build_schema(extensions=[ToldExtensions])
    socket.start("{ version }", extensions={"asked": 17})
    assert socket.result()["extensions"] == {"told": {"asked": 17}}


class ToldExtensions(SchemaExtension):
    """Answers with the extensions that came with the operation."""

    def get_results(self) -> dict[str, Any]:
        """See SchemaExtension."""
        return {"told": self.execution_context.operation_extensions}


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {"token": "x"}}])
@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_connection_init(shared_server: LiveServer, protocol: str, payload: dict[str, Any]) -> None:
    """connection_init is taken without payload, with null and with an object (weaknesses 37)."""
    with opened(shared_server, protocol, init=False) as socket:
        socket.init(**payload)


@pytest.mark.parametrize(
    "payload",
    [
        {"query": "subscription {"},
        {"query": "{ nothing }"},
        {"query": "{ version }", "operationName": "Other"},
        {"query": "query($n: Int!) { runsOrError(limit: $n) { __typename } }"},
        {"query": 17},
        {"query": ""},
        {},
        None,
        [],
        {"query": "{ version }", "variables": []},
        {"query": "{ version }", "variables": "{}"},
        {"query": "{ version }", "operationName": 3},
        {"query": "{ version }", "extensions": []},
        {"query": "query A { version } query B { version }"},
    ],
    ids=str,
)
def test_bad_operation_ends_alone(socket: Socket, instance: Instance, payload: Any) -> None:
    """An operation that can't be executed has an error of its own; what else goes on over the socket isn't touched."""
    create(instance)
    socket.start(EVENTS, id="good", variables={"runId": "run"})
    socket.result("good")
    socket.send({"type": socket.start_type, "id": "bad", "payload": payload})
    message = socket.receive()
    assert (message["type"], message["id"]) == ("error", "bad")
    error = message["payload"] if isinstance(message["payload"], dict) else message["payload"][0]
    assert error["message"]
    assert error["extensions"]["code"] not in ("INTERNAL", None)
    write(instance)
    assert seqs(socket.result("good")) == [1]
    socket.start("{ version }", id="bad")  # the id is free again
    assert socket.result("bad")["data"]["version"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("no json", 4400),
        ("[]", 4400),
        ("null", 4400),
        ('"text"', 4400),
        ("{}", 4400),
        ('{"type": 3}', 4400),
        ('{"type": "connection_init", "payload": 3}', 4400),
        (b"\x00\x01", 4400),
        ('{"type": "START", "id": 3}', 4400),
        ('{"type": "START"}', 4400),
        ('{"type": "STOP"}', 4400),
        ('{"type": "START", "id": ""}', 4400),
        ("[" * 100_000, 4400),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_malformed_frames(
    shared_server: LiveServer, protocol: str, frame: Any, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no message closes the socket with a code and a reason; the server's log has no traceback."""
    with opened(shared_server, protocol) as socket:
        if isinstance(frame, str):
            frame = frame.replace("START", socket.start_type).replace("STOP", socket.stop_type)
        socket.connection.send(frame)
        assert socket.close_code() == code
        assert socket.connection.protocol.close_reason
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_reason_with_half_a_surrogate_pair(shared_server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    """What a close frame quotes of the client can always be sent (weaknesses 45)."""
    with opened(shared_server, TRANSPORT) as socket:
        socket.connection.send('{"type": "\\ud800"}')
        assert socket.close_code() == 4400
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_pings_that_are_nested_deeply(shared_server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    """A payload is sent back, or the socket is closed with 4400: also one that can just be read, and not be written."""
    for depth in range(940, 1000):
        with opened(shared_server, init=False) as socket:
            socket.connection.send('{"type": "ping", "payload": ' + "[" * depth + "]" * depth + "}")
            try:
                assert '"pong"' in str(socket.connection.recv(timeout=PATIENCE_S))
            except ConnectionClosed:
                assert socket.connection.protocol.close_code == 4400
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_messages_before_init_are_short(shared_server: LiveServer, protocol: str) -> None:
    """Who hasn't said who speaks can't have megabytes read; behind connection_init they are."""
    long = {"type": "connection_init", "payload": {"filler": "x" * 100_000}}
    with opened(shared_server, protocol, init=False) as socket:
        socket.send(long)
        assert socket.close_code() == 4400
    with opened(shared_server, protocol) as socket:
        socket.start("query ($filler: String) { version }", variables={"filler": "x" * 100_000}, operationName=None)
        message = socket.receive()
        assert message["type"] in (socket.result_type, "error")


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_a_socket_speaks_for_one(serve: Serve, instance: Instance, tmp_path: Path, protocol: str) -> None:
    """A second connection_init ends the socket and its feeds on either protocol, whoever it names: a feed ends with the
    token that it was asked for by, and a later token would take its place."""
    create(instance)
    bob, alice = (add_token(tmp_path / "tokens", name, Role.VIEWER) for name in ("bob", "alice"))
    server = serve(tokens=tmp_path / "tokens")
    for token in (alice, bob, "nobodys"):
        with opened(server, protocol, init=False) as socket:
            socket.init(payload={"authorization": f"Bearer {bob}"})
            socket.start(EVENTS, variables={"runId": "run"})
            socket.result()
            socket.send({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
            assert socket.close_code() == 4429
        until(lambda: server.on_loop(lambda: server.hub.viewers) == 0)


def test_rules_of_the_transport_protocol(server: LiveServer, instance: Instance) -> None:
    """Codes of graphql-transport-ws: not initialised, twice initialised, an id in use, an unknown message."""
    create(instance)
    with opened(server, init=False) as socket:
        socket.start("{ version }")
        assert socket.close_code() == 4401
    with opened(server) as socket:
        socket.send({"type": "connection_init"})
        assert socket.close_code() == 4429
    with opened(server) as socket:
        for _ in range(2):
            socket.start(EVENTS, variables={"runId": "run"})
        assert socket.close_code() == 4409
    with opened(server) as socket:
        socket.send({"type": "connection_terminate"})
        assert socket.close_code() == 4400
    with opened(server) as socket:
        socket.send({"type": "ping", "payload": {"n": 1}})
        assert socket.receive() == {"type": "pong", "payload": {"n": 1}}
        socket.send({"type": "pong"})
        socket.send({"type": "complete", "id": "never begun"})
        socket.send({"type": "ping"})
        assert socket.receive() == {"type": "pong"}


def test_rules_of_the_older_protocol(server: LiveServer, instance: Instance) -> None:
    """graphql-ws: an id used again replaces its operation, unknown messages are passed over, the client can end it."""
    create(instance)
    write(instance, 2)
    with opened(server, LEGACY) as socket:
        socket.send({"type": "unheard of"})
        for _ in range(2):
            socket.start(EVENTS, variables={"runId": "run"})
            assert seqs(socket.result()) == [1, 2]
        socket.send({"type": "connection_terminate"})
        assert socket.close_code() == 1000


def test_silence_before_init_is_closed(serve: Serve) -> None:
    """A socket that is never initialised is closed."""
    with opened(serve(init_timeout_s=0.05), init=False) as socket:
        assert socket.close_code() == 4408


def test_subprotocol(shared_server: LiveServer) -> None:
    """A socket that offers no protocol spoken here is closed with the code for it."""
    with connect(shared_server.socket_url, subprotocols=["mqtt"], proxy=None) as connection:  # type: ignore[list-item]
        assert Socket(connection, TRANSPORT).close_code() == 4406
    options: Any = {"subprotocols": ["mqtt", LEGACY], "proxy": None}
    with connect(shared_server.socket_url, **options) as connection:
        assert connection.subprotocol == LEGACY


def test_operations_are_bounded(serve: Serve, instance: Instance, caplog: pytest.LogCaptureFixture) -> None:
    """One socket holds only so many operations; the one too many is told, and is found again in the log."""
    caplog.set_level("INFO", "daglens.server")
    create(instance)
    with opened(serve(limits=Limits(max_operations=3))) as socket:
        for n in range(3):
            socket.start(EVENTS, id=str(n), variables={"runId": "run"})
            socket.result(str(n))
        socket.start(EVENTS, id="more", variables={"runId": "run"})
        refused = socket.receive()
        (error,) = refused["payload"]
        assert (refused["type"], error["extensions"]["code"]) == ("error", "TOO_MANY_OPERATIONS")
        assert f"errorId {error['extensions']['errorId']}: TOO_MANY_OPERATIONS" in caplog.text
        socket.send({"type": "complete", "id": "0"})
        socket.start(EVENTS, id="more", variables={"runId": "run"})
        assert seqs(socket.result("more")) == []


def test_unsubscribing(socket: Socket, server: LiveServer, instance: Instance) -> None:
    """An operation that the client ends is over, on the server as well; its id can be used again."""
    create(instance)
    for _ in range(3):
        socket.start(EVENTS, variables={"runId": "run"})
        socket.result()
        socket.send({"type": socket.stop_type, "id": "1"})
    until(lambda: server.on_loop(lambda: server.hub.feeds) == 0)


@pytest.mark.fault("viewers_vanish")
def test_hundred_killed_sockets(server: LiveServer, instance: Instance) -> None:
    """A hundred viewers whose connections break off leave nothing on the server (weaknesses 7)."""
    create(instance)
    with ExitStack() as stack:
        sockets = [stack.enter_context(opened(server)) for _ in range(100)]
        for n, socket in enumerate(sockets):
            socket.start(EVENTS, variables={"runId": "run"})
            if n % 2:
                socket.result()
        until(lambda: server.on_loop(lambda: server.hub.viewers) == 100)
        write(instance, 50)
        for socket in sockets:
            socket.connection.socket.shutdown(SHUT_RDWR)
        until(lambda: server.on_loop(lambda: server.hub.viewers) == 0)
        assert server.on_loop(lambda: server.hub.feeds) == 0
        until(lambda: server.on_loop(operation_tasks) == 0)


def operation_tasks() -> int:
    """Tasks of operations on the running loop."""
    import asyncio

    return sum(task.get_name().startswith("daglens-operation") for task in asyncio.all_tasks())


@pytest.mark.fault("viewer_stops")
def test_reader_that_stops(server: LiveServer, instance: Instance) -> None:
    """A client that stops reading stops its own feed only, holds next to nothing here, and later gets every event."""
    create(instance)
    total = 8000  # 16 MB: far more than the system buffers of a connection hold
    # Two frames read ahead: the client library takes no more from the connection until it is asked to.
    with opened(server, max_queue=1) as slow, opened(server) as quick:
        for socket in (slow, quick):
            socket.start(EVENTS.replace("{ seq }", "{ seq message }"), variables={"runId": "run"})
            socket.result()
        got: list[int] = []
        for _ in range(total // 200):
            instance.append("run", [EventDraft("LOG_MESSAGE", message="x" * 2000) for _ in range(200)])
        while len(got) < total:
            got += seqs(quick.result())
        assert got == list(range(1, total + 1))

        def places() -> list[int]:
            feed = server.hub._runs["run"]
            return sorted(feed.viewers.values())

        behind = server.on_loop(places)
        assert behind[0] < total == behind[1]
        got = []
        while len(got) < total:
            got += seqs(slow.result())
        assert got == list(range(1, total + 1))


@pytest.mark.parametrize("last", [0, 700])
def test_resuming_by_cursor(server: LiveServer, instance: Instance, last: int) -> None:
    """A client that comes back with its last cursor continues exactly there, on any server of the instance."""
    create(instance)
    write(instance, 1500)
    with opened(server) as socket:
        socket.start(EVENTS, variables={"runId": "run"})
        first: list[int] = []
        while len(first) <= last:
            payload = socket.result()
            first += seqs(payload)
    write(instance, 5)
    with opened(server, LEGACY) as socket:
        socket.start(EVENTS, variables={"runId": "run", "after": payload["data"]["runEvents"]["cursor"]})
        second: list[int] = []
        while len(first) + len(second) < 1505:
            second += seqs(socket.result())
    assert first + second == list(range(1, 1506))


def test_error_members(socket: Socket, instance: Instance) -> None:
    """What a user can act on comes as a message of the union, and the operation completes."""
    create(instance)
    for variables, code in (
        ({"runId": "nobody"}, "RUN_NOT_FOUND"),
        ({"runId": "run", "after": "nonsense"}, "INVALID_CURSOR"),
    ):
        socket.start(EVENTS, variables=variables)
        assert [payload["data"]["runEvents"]["code"] for payload in socket.results()] == [code]


def test_origins(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Pages of other origins can't open a socket, and are told why; our own, listed ones and programs can."""
    caplog.set_level("INFO", "daglens.server")
    server = serve(allowed_origins=("https://front.example.org",))
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://front.example.org.evil.example"):
        with pytest.raises(InvalidStatus) as refused, opened(server, origin=origin):
            pass
        response = refused.value.response
        assert response.status_code == 403
        (error,) = json.loads(bytes(response.body))["errors"]
        assert "--allowed-origin" in error["message"]
        assert (
            f"errorId {error['extensions']['errorId']}: FORBIDDEN: HTTP 403 (GET /graphql from 127.0.0.1)"
            in caplog.text
        )
    for allowed in (None, server.url, "https://front.example.org"):
        with opened(server, origin=allowed) as socket:
            socket.start("{ version }")
            assert socket.result()["data"]["version"]
    # A handshake that was refused is no fault of the server's.
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_foreign_host(shared_server: LiveServer) -> None:
    """A socket under a foreign name (DNS rebinding) is refused."""
    port = shared_server.url.rpartition(":")[2]
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            f"ws://evil.example:{port}/graphql",
            address=("127.0.0.1", int(port)),
            subprotocols=[TRANSPORT],  # type: ignore[list-item]
            proxy=None,
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_viewers_who_keep_up_are_pushed_to(server: LiveServer, instance: Instance) -> None:
    """Viewers of one document are read for together, over real sockets, whatever the size of a message."""
    create(instance)
    query = EVENTS.replace("{ seq }", "{ seq message }")
    results = server.app.state.served.results

    def standing() -> int:
        walks = [shared.walk for shared in results.shared]
        return sum(len(followers) for walk in walks for followers in walk._standing.values())

    with opened(server) as one, opened(server, LEGACY) as other:
        for socket in (one, other):
            socket.start(query, variables={"runId": "run"})
            socket.result()
        write(instance)  # who came first read for itself until now
        for socket in (one, other):
            assert seqs(socket.result()) == [1]
        for size in (1, 1000, 20_000):  # two events each: frames of all three kinds
            until(lambda: server.on_loop(standing) == 2)
            instance.append("run", [EventDraft("LOG_MESSAGE", message="é" * size)] * 2)
            for socket in (one, other):
                events = socket.result()["data"]["runEvents"]["events"]
                assert [event["message"] for event in events] == ["é" * size] * 2


def test_joiners_over_sockets(server: LiveServer, instance: Instance) -> None:
    """Clients who join while a writer writes get every event once, in order (weaknesses 41)."""
    create(instance)
    total = 300

    def write_all() -> None:
        for _ in range(total):
            write(instance)
        write(instance, 1, event_type="RUN_SUCCESS")

    writer = threading.Thread(target=write_all)
    with opened(server) as socket:
        writer.start()
        for n in range(10):
            socket.start(EVENTS, id=str(n), variables={"runId": "run"})
        got: dict[str, list[int]] = {str(n): [] for n in range(10)}
        open_feeds = set(got)
        while open_feeds:
            message = json.loads(socket.connection.recv(timeout=60))
            if message["type"] == "complete":
                open_feeds.discard(message["id"])
            else:
                got[message["id"]] += seqs(message["payload"])
        writer.join()
    assert list(got.values()) == [list(range(1, total + 2))] * 10
