"""Tokens that end while they are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from daglens.access import Identity, Role, Unauthenticated
from daglens.access.token_file import add_token, remove_token, rotate_token
from daglens.access.tokens import Tokens
from daglens.instance import Instance
from daglens.server import admission as admissions
from daglens.server.admission import Admission, Gate
from daglens.testing.server import LiveServer
from tests.access.conftest import client_of
from tests.server.conftest import EVENTS, LEGACY, TRANSPORT, create, opened, until, write

QUERY = "/graphql?query={version}"


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes between two looks whether a token holds."""
    monkeypatch.setattr(admissions, "_LOOK_S", 0.0)


def test_rotation_without_a_restart(guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path) -> None:
    """At the next request the old token is unknown and the new one let in, on connections that stay open too."""
    with client_of(guarded, tokens["viewer"]) as http:
        assert http.get(QUERY).status_code == 200
        new = rotate_token(tokens_file, "viewer")
        assert http.get(QUERY).status_code == 401
        assert http.get(QUERY, headers={"authorization": f"Bearer {new}"}).status_code == 200


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_a_socket_ends_with_its_token(
    guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path, instance: Instance, protocol: str
) -> None:
    """A subscription gets no event that was written after its token has ended: the socket is closed with 4403, and what
    it fed on is let go."""
    create(instance)
    with opened(guarded, protocol, init=False) as socket:
        socket.init(payload={"Authorization": f"Bearer {tokens['viewer']}"})
        socket.start(EVENTS, variables={"runId": "run"})
        assert socket.result()["data"]["runEvents"]["events"] == []
        remove_token(tokens_file, "viewer")
        write(instance)
        assert socket.close_code() == 4403
    until(lambda: guarded.on_loop(lambda: guarded.hub.viewers) == 0)


def test_sockets_that_are_fed_together_end_with_their_tokens(
    guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path, instance: Instance
) -> None:
    """Of two viewers who have kept up and are sent one text, the one whose token has ended is closed with 4403 instead;
    the other goes on."""
    other = add_token(tokens_file, "second-viewer", Role.VIEWER)
    create(instance)
    with opened(guarded, TRANSPORT, init=False) as ending, opened(guarded, TRANSPORT, init=False) as staying:
        for socket, token in ((ending, tokens["viewer"]), (staying, other)):
            socket.init(payload={"Authorization": f"Bearer {token}"})
            socket.start(EVENTS, variables={"runId": "run"})
            assert socket.result()["data"]["runEvents"]["events"] == []
        write(instance)  # who came first reads for itself until now
        for socket in (ending, staying):
            assert len(socket.result()["data"]["runEvents"]["events"]) == 1
        until(lambda: guarded.on_loop(lambda: fed_together(guarded)) == 2)
        remove_token(tokens_file, "viewer")
        write(instance)
        assert ending.close_code() == 4403
        assert len(staying.result()["data"]["runEvents"]["events"]) == 1


def fed_together(guarded: LiveServer) -> int:
    """How many viewers one walk reads for."""
    walks = [shared.walk for shared in guarded.app.state.served.results.shared]
    return sum(len(followers) for walk in walks for followers in walk._standing.values())


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_no_operation_begins_after_the_end(
    guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path, instance: Instance, protocol: str
) -> None:
    """On a socket that is open still, a mutation after the token's end isn't carried out."""
    create(instance)
    with opened(guarded, protocol, init=False) as socket:
        socket.init(payload={"Authorization": f"Bearer {tokens['admin']}"})
        remove_token(tokens_file, "admin")
        with suppress(ConnectionClosed):  # the server may have seen the token's end by now
            socket.start('mutation { heartbeat(runId: "run") { __typename } }')
        assert socket.close_code() == 4403
    found = instance.run("run")
    assert found is not None
    assert found.heartbeat_at_us is None


def test_an_event_stream_ends_with_its_token(
    guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path, instance: Instance
) -> None:
    """A stream of server-sent events ends where its token does, without what was written since; asked again, it is
    401."""
    create(instance)
    body = {"query": EVENTS, "variables": {"runId": "run"}}
    with client_of(guarded, tokens["viewer"]) as http:
        http.headers["accept"] = "text/event-stream"
        with http.stream("POST", "/graphql", json=body) as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()
            assert any('"events":[]' in line for line in lines)
            remove_token(tokens_file, "viewer")
            write(instance)
            assert not any("seq" in line for line in lines)
        assert http.post("/graphql", json=body).status_code == 401
    until(lambda: guarded.on_loop(lambda: guarded.hub.viewers) == 0)


def test_a_token_that_ends_while_the_body_is_sent(
    guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path
) -> None:
    """A request whose token ends before all of it is there is answered with 401, as one that comes later."""
    clients = guarded.app.state.served.clients

    def body() -> Iterator[bytes]:
        yield b'{"query": '
        until(lambda: clients.total_bytes > 0)  # it was let in
        remove_token(tokens_file, "viewer")
        yield b'"{version}"}'

    with client_of(guarded, tokens["viewer"]) as http:
        answer = http.post("/graphql", content=body(), headers={"content-type": "application/json"})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "www-authenticate" in answer.headers


SCOPE = {"type": "websocket", "headers": [], "client": ("127.0.0.1", 1)}


def test_whoever_notices_the_end_first(tokens: Mapping[str, str], tokens_file: Path) -> None:
    """An operation that is about to begin may be the first to meet the token's end: what is under way ends as well."""

    async def meet() -> None:
        admission = Admission(Gate(tokens=Tokens(tokens_file)), dict(SCOPE))
        await admission.enter({"Authorization": f"Bearer {tokens['viewer']}"})
        assert not admission.is_over()
        remove_token(tokens_file, "viewer")
        with pytest.raises(Unauthenticated):
            _ = admission.admitted
        assert admission.is_over()

    asyncio.run(meet())


def test_a_token_that_ends_in_the_moment_it_is_taken(tokens: Mapping[str, str], tokens_file: Path) -> None:
    """Whoever was let in by a token that is gone an instant later is let out again."""

    class Ending(Tokens):
        def find(self, token: str) -> Identity | None:
            found = super().find(token)
            if found is not None:
                remove_token(tokens_file, str(found.name))
            return found

    async def enter() -> None:
        admission = Admission(Gate(tokens=Ending(tokens_file)), dict(SCOPE))
        await admission.enter({"Authorization": f"Bearer {tokens['viewer']}"})
        assert admission.is_over()

    asyncio.run(enter())
