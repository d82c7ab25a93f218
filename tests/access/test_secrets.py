"""Tokens stand in no log, no answer and no address, whatever was done with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from daglens.access.token_file import remove_token, rotate_token
from daglens.testing.server import LiveServer
from tests.access.conftest import OTHER, UNKNOWN, bearer
from tests.access.test_mutations import CALLS
from tests.access.test_routes import address_of, method_of, routes_of
from tests.server.conftest import LEGACY, TRANSPORT, opened


def test_nowhere(
    guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every route and every mutation with known, unknown and misplaced tokens, sockets, signing in, rotation: neither
    the log at its lowest level, nor an answer's text, headers (but the cookie's own) or address has one."""
    caplog.set_level(logging.DEBUG, "daglens")
    caplog.set_level(logging.DEBUG, "uvicorn")
    secrets = [*tokens.values(), UNKNOWN]
    seen: list[str] = []
    with httpx.Client(base_url=guarded.url, event_hooks={"response": [lambda answer: answer.read() and None]}) as http:

        def note(answer: httpx.Response) -> None:
            shown = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
            seen.append(f"{shown} {answer.text}")

        for secret in secrets:
            for headers in (
                bearer(secret),
                {"authorization": secret},
                {"authorization": f"Basic {secret}"},
                {"cookie": f"daglens_token={secret}"},
            ):
                for key, route in routes_of(guarded.app):
                    if not key.startswith("websocket"):
                        note(http.request(method_of(route), address_of(key), headers=headers))
            for document, variables in CALLS.values():
                note(http.post("/graphql", json={"query": document, "variables": variables}, headers=bearer(secret)))
            note(http.post("/login", data={"token": secret}))
            note(http.post("/login", content=secret.encode(), headers={"content-type": "text/plain"}))
            http.cookies.clear()
            for protocol in (TRANSPORT, LEGACY):
                for payload in ({"Authorization": f"Bearer {secret}"}, {"Authorization": [secret]}, {"token": secret}):
                    with opened(guarded, protocol, init=False) as socket:
                        socket.send({"type": "connection_init", "payload": payload})
                        seen.append(str(socket.connection.recv()) if socket_answers(secret, payload) else "")
                        # The server may have closed it by now.
                        with suppress(ConnectionClosed):
                            socket.send({"type": "connection_terminate"} if protocol == LEGACY else {"type": "none"})
                        socket.close_code()
                        seen.append(str(socket.connection.protocol.close_reason))
    new = rotate_token(tokens_file, OTHER)
    assert http_status(guarded, new) == 200
    remove_token(tokens_file, OTHER)
    assert http_status(guarded, new) == 401
    tokens_file.chmod(0o666)
    assert http_status(guarded, tokens["admin"]) == 401
    told = "\n".join([*seen, *(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)])
    assert len(seen) > 200
    assert "Nobody is let in" in told
    for secret in (*secrets, new):
        assert secret not in told
        assert secret[len("dgl_") :] not in told


def socket_answers(secret: str, payload: Mapping[str, object]) -> bool:
    """Whether an acknowledgement comes."""
    return secret != UNKNOWN and payload == {"Authorization": f"Bearer {secret}"}


def http_status(server: LiveServer, token: str) -> int:
    """What a query by a token is answered with."""
    return httpx.get(f"{server.url}/graphql?query={{version}}", headers=bearer(token)).status_code
