"""Sockets that are refused after their handshake: the log and the metrics tell the operator of each."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from daglens.access import Role
from daglens.access.token_file import add_token, remove_token
from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, LEGACY, PATIENCE_S, TRANSPORT, Serve, Socket, create, opened, until, write

Refused = Callable[[Socket], Any]
KIB = 1024

# What a client does, whether it has begun, the code it is closed with and the one the operator is told.
REFUSED: dict[str, tuple[Refused, bool, int, str]] = {
    "no message": (lambda socket: socket.connection.send("{"), True, 4400, "BAD_REQUEST"),
    "no init": (lambda socket: socket.start("{ version }"), False, 4401, "UNAUTHENTICATED"),
    "no token": (lambda socket: socket.send({"type": "connection_init"}), False, 4401, "UNAUTHENTICATED"),
    "another token": (
        lambda socket: socket.send({"type": "connection_init", "payload": {"authorization": "Bearer nobodys"}}),
        False,
        4403,
        "UNAUTHENTICATED",
    ),
    "too many bytes": (lambda socket: socket.send({"type": "ping", "x": "x" * 50 * KIB}), True, 1013, "TOO_MANY_BYTES"),
    "too large a message": (
        lambda socket: socket.send({"type": "ping", "x": "x" * 200 * KIB}),
        True,
        1013,
        "TOO_MANY_BYTES",
    ),
}


def counted(server: LiveServer, token: str) -> dict[str, float]:
    """Errors by code, up to now."""
    headers = {"authorization": f"Bearer {token}"}
    text = httpx.get(f"{server.url}/metrics", headers=headers, timeout=PATIENCE_S).text
    return {code: float(n) for code, n in re.findall(r'^daglens_errors_total{code="(\w+)"} (\S+)$', text, re.M)}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file of tokens."""
    return tmp_path / "tokens"


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_a_socket_that_is_closed(serve: Serve, tokens: Path, caplog: pytest.LogCaptureFixture, protocol: str) -> None:
    """Each has an errorId in the log, with the code it was closed with, and counts among the errors."""
    caplog.set_level(logging.INFO)
    token = add_token(tokens, "alice", Role.VIEWER)
    server = serve(tokens=tokens, limits=Limits(max_client_bytes=40 * KIB))
    for name, (refused, begun, closed_with, code) in REFUSED.items():
        before = counted(server, token)
        caplog.clear()
        with opened(server, protocol, init=False) as socket:
            if begun:
                socket.init(payload={"authorization": f"Bearer {token}"})
            refused(socket)
            assert socket.close_code() == closed_with, name
        until(lambda before=before, code=code: counted(server, token).get(code, 0) == before.get(code, 0) + 1)  # type: ignore[misc]
        told = [text for text in caplog.messages if re.match(rf"errorId [0-9a-f-]{{36}}: {code}: ", text)]
        assert len(told) == 1 and f"closed with {closed_with}" in told[0], (name, caplog.messages)
        assert token not in caplog.text and "nobodys" not in caplog.text


def test_a_protocol_that_is_not_spoken(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It is told as well."""
    caplog.set_level(logging.INFO)
    server = serve()
    with connect(server.socket_url, subprotocols=["mqtt"], proxy=None) as connection:  # type: ignore[list-item]
        assert Socket(connection, TRANSPORT).close_code() == 4406
    until(lambda: counted(server, "-").get("BAD_REQUEST") == 1)
    assert "closed with 4406" in caplog.text


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_an_operation_that_is_refused(
    serve: Serve, instance: Instance, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    """Its error has an errorId, which the log has too, and it counts."""
    caplog.set_level(logging.INFO)
    create(instance)
    server = serve(limits=Limits(max_operations=1))
    with opened(server, protocol) as socket:
        socket.start(EVENTS, id="first", variables={"runId": "run"})
        socket.result("first")
        for query, code in ((EVENTS, "TOO_MANY_OPERATIONS"), ("", "BAD_REQUEST")):
            if code == "BAD_REQUEST":
                socket.send({"type": socket.stop_type, "id": "first"})
            socket.start(query, id="second", variables={"runId": "run"})
            message = socket.receive()
            while message["type"] == "complete":  # of the first, on the older protocol
                message = socket.receive()
            (error,) = [message["payload"]] if protocol == LEGACY else message["payload"]
            assert error["extensions"]["code"] == code
            assert f"errorId {error['extensions']['errorId']}: {code}: " in caplog.text
            assert counted(server, "-")[code] == 1


def test_who_is_not_known_on_the_older_protocol(serve: Serve, tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The message that says so has the errorId of the log."""
    caplog.set_level(logging.INFO)
    add_token(tokens, "alice", Role.VIEWER)
    with opened(serve(tokens=tokens), LEGACY, init=False) as socket:
        socket.send({"type": "connection_init"})
        told = socket.receive()
        assert (told["type"], told["payload"]["code"]) == ("connection_error", "UNAUTHENTICATED")
        assert socket.close_code() == 4401
    assert caplog.text.count(f"errorId {told['payload']['errorId']}: UNAUTHENTICATED: ") == 1


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_a_token_that_ends(serve: Serve, instance: Instance, tokens: Path, protocol: str) -> None:
    """A feed that ends with its token counts among the errors."""
    create(instance)
    bob, alice = (add_token(tokens, name, Role.VIEWER) for name in ("bob", "alice"))
    server = serve(tokens=tokens)
    with opened(server, protocol, init=False) as socket:
        socket.init(payload={"authorization": f"Bearer {bob}"})
        socket.start(EVENTS, variables={"runId": "run"})
        socket.result()
        remove_token(tokens, "bob")

        def ended() -> bool:
            write(instance)
            return counted(server, alice).get("UNAUTHENTICATED", 0) == 1

        until(ended)
        assert socket.close_code() == 4403
