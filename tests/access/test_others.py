"""Trusted proxies and own authenticators."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from daglens.access import Credentials, Identity, Role
from daglens.access.token_file import add_token
from daglens.config.problems import ConfigError
from daglens.instance import Instance
from daglens.server.settings import InvalidServerSetting, ServerSettings
from daglens.testing.server import LiveServer, serve_in_thread
from tests.access.conftest import bearer
from tests.api.mutations import CREATE
from tests.live.conftest import QUICK
from tests.server.conftest import LEGACY, TRANSPORT, opened

PROXY = """
    trusted_header: X-Forwarded-User
    trusted_proxies: [{network}]
    trusted_roles: {{alice: admin, bob: recorder{more}}}
"""
OWN = """
    authenticator:
      module: {module}
      class: {name}
      config: {{word: "s3cret-word"}}
"""


class Own:
    """Takes a word for a token; breaks down as it is asked to."""

    @dataclass(frozen=True)
    class Config:
        word: str

    asked: ClassVar[list[Credentials]] = []
    threads: ClassVar[set[int]] = set()

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Own:
        return cls()

    def authenticate(self, credentials: Credentials) -> Any:
        self.asked.append(credentials)
        self.threads.add(threading.get_ident())
        if credentials.token == "raise":
            raise RuntimeError(f"no such token: {credentials.token}, my word is s3cret-word")
        if credentials.token == "lie":
            return "admin"
        known = credentials.headers.get("x-who") or credentials.token
        return Identity(known, Role.RECORDER) if known else None


class Start:
    """Starts servers of a home whose dagster.yaml says something below `daglens: access:`."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self._stack = stack

    def __call__(self, access: str, **settings: Any) -> LiveServer:
        (self.home / "dagster.yaml").write_text(f"daglens:\n  access:{access}")
        instance = self._stack.enter_context(Instance.open(home=self.home, environ={}))
        made = ServerSettings(live=QUICK, drain_s=2.0, **settings)
        return self._stack.enter_context(serve_in_thread(instance, made))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield Start(tmp_path, stack)


def status(server: LiveServer, **headers: str) -> int:
    """What a query is answered with."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{server.url}/graphql?query={{version}}", headers=sent).status_code


def created_by(server: LiveServer, headers: dict[str, str]) -> Any:
    """Create a run; whose it is."""
    body = {"query": CREATE, "variables": {"input": {"pipelineName": "p"}}}
    return httpx.post(f"{server.url}/graphql", json=body, headers=headers).json()["data"]["it"]["run"]["createdBy"]


def test_a_trusted_proxy(start: Start) -> None:
    """Users that it names have their role, others are refused; a name can't be a token's."""
    server = start(PROXY.format(network="127.0.0.0/8", more=""))
    assert status(server) == 401
    assert status(server, x_forwarded_user="alice") == 200
    assert status(server, x_forwarded_user="mallory") == 401
    assert status(server, x_forwarded_user="bob, alice") == 401
    assert status(server, x_forwarded_user="") == 401
    assert created_by(server, {"x-forwarded-user": "bob"}) == "proxy:bob"


def test_users_that_are_not_named(start: Start) -> None:
    """`*` gives a role to everybody whom the proxy knows, and to nobody whom it doesn't."""
    server = start(PROXY.format(network="127.0.0.1", more=', "*": viewer'))
    assert status(server, x_forwarded_user="mallory") == 200
    assert status(server, x_forwarded_user="a,b") == 401
    assert status(server) == 401


def test_a_header_from_elsewhere(start: Start) -> None:
    """From an address that isn't a trusted proxy's the header means nothing."""
    server = start(PROXY.format(network="10.0.0.0/8, 2001:db8::/32", more=', "*": admin'))
    assert status(server, x_forwarded_user="alice") == 401
    assert status(server, x_forwarded_user="alice", x_forwarded_for="10.0.0.1") == 401


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_sockets_behind_a_proxy(start: Start, protocol: str) -> None:
    """The header of the handshake counts for the socket."""
    server = start(PROXY.format(network="127.0.0.1", more=""))
    with opened(server, protocol, additional_headers={"X-Forwarded-User": "bob"}) as socket:
        socket.start("{ version }")
        assert socket.result()["data"]["version"]


@pytest.mark.parametrize(
    "access",
    [
        "\n    trusted_header: X-User\n",
        "\n    trusted_proxies: [10.0.0.0/8]\n",
        "\n    trusted_roles: {alice: admin}\n",
        PROXY.format(network="10.0.0.1/8", more=""),
        PROXY.format(network="proxy.example.org", more=""),
        PROXY.format(network="10.0.0.0/8", more="").replace("X-Forwarded-User", "'X User:'"),
    ],
)
def test_proxies_that_are_said_wrong(start: Start, access: str) -> None:
    """What would let nobody in, or anybody, is a sentence at the start."""
    with pytest.raises(InvalidServerSetting):
        start(access)


def test_a_role_that_is_none(start: Start) -> None:
    """A role is one of three; the file's line is told."""
    with pytest.raises(ConfigError, match=r"dagster.yaml:5: daglens.access.trusted_roles.bob"):
        start(PROXY.format(network="10.0.0.0/8", more="").replace("recorder", "root"))


@pytest.fixture
def own() -> str:
    """dagster.yaml's part for the authenticator of this file."""
    Own.asked.clear()
    Own.threads.clear()
    return OWN.format(module=__name__, name="Own")


def test_an_own_authenticator(start: Start, own: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told the token, the headers and the client; whom it knows is let in under the name that it gives."""
    server = start(own)
    assert status(server) == 401
    assert created_by(server, bearer("carol")) == "carol"
    assert created_by(server, {"x-who": "dave"}) == "dave"
    assert {seen.client_host for seen in Own.asked} == {"127.0.0.1"}
    assert "carol" not in repr(Own.asked)
    assert threading.get_ident() not in Own.threads
    for token in ("raise", "lie"):
        answer = httpx.get(f"{server.url}/graphql?query={{version}}", headers=bearer(token))
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"]["code"] == "ACCESS_UNAVAILABLE"
        assert "s3cret" not in answer.text
        with opened(server, init=False) as socket:
            socket.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
            assert socket.close_code() == 1013
    assert "RuntimeError" in caplog.text
    assert "s3cret" not in caplog.text
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_tokens_come_first(start: Start, own: str, tmp_path: Path) -> None:
    """A token of the file is not asked about; `tokens:` of dagster.yaml begins at the instance's folder."""
    token = add_token(tmp_path / "tokens", "ci", Role.RECORDER)
    server = start(f"{own}    tokens: tokens\n")
    assert created_by(server, bearer(token)) == "ci"
    assert Own.asked == []
    assert created_by(server, bearer("carol")) == "carol"


@pytest.mark.parametrize(
    ("access", "sentence"),
    [
        ("\n    authenticator: {module: nonesuch, class: X}\n", "nonesuch"),
        ("\n    authenticator: {module: pathlib, class: Path}\n", "it lacks the methods from_config, authenticate"),
        ("\n    authenticator: {class: X}\n", "daglens.access.authenticator.module: this key is missing"),
        ("\n    authenticator: 5\n", "must hold module, class"),
        (OWN.format(module=__name__, name="Own").replace("word:", "wrod:"), "unknown key"),
        ("\n    authenticatr: {module: a, class: b}\n", "unknown key"),
        (
            "\n    authenticator: {module: daglens.storage.memory, class: InMemoryRunStorage}\n",
            "belongs under run_storage",
        ),
    ],
)
def test_authenticators_that_are_none(start: Start, access: str, sentence: str) -> None:
    """A class that can't be one is told with its place in dagster.yaml, before anything is served."""
    with pytest.raises(ConfigError) as refused:
        start(access)
    assert sentence in str(refused.value)
    assert "s3cret" not in str(refused.value)
