"""What an own authenticator is asked: at /login, and at /readyz, where anybody may ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from daglens.access import Credentials, Identity, Role
from daglens.access.token_file import add_token
from daglens.instance import Instance
from daglens.server.admission import _AUTHENTICATOR_THREADS as MOST
from daglens.server.admission import Gate
from daglens.server.settings import ServerSettings
from daglens.storage.records import Health
from daglens.testing.server import serve_in_thread
from tests.access.conftest import bearer
from tests.live.conftest import QUICK
from tests.server.conftest import PATIENCE_S, until

SHORT = "It isn't healthy; the server tells those more who are signed in."


class ByAddress:
    """Lets in by address; who has the token `alices` is alice. Without an address it lets nobody in until it may."""

    may_answer: ClassVar[threading.Event] = threading.Event()
    asked: ClassVar[list[str | None]] = []

    @classmethod
    def from_config(cls, config: Any, home: Path) -> ByAddress:
        return cls()

    def authenticate(self, credentials: Credentials) -> Identity | None:
        self.asked.append(credentials.token)
        if credentials.token == "hangs":
            self.may_answer.wait(PATIENCE_S)
            return None
        if credentials.token == "alices":
            return Identity("alice", Role.ADMIN)
        return Identity("desk", Role.VIEWER)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """One with the authenticator and a file of tokens."""
    ByAddress.may_answer.clear()
    ByAddress.asked.clear()
    (tmp_path / "dagster.yaml").write_text(
        f"daglens:\n  access:\n    tokens: tokens\n    authenticator: {{module: {__name__}, class: ByAddress}}\n"
    )
    add_token(tmp_path / "tokens", "nobody", Role.VIEWER)
    with Instance.open(home=tmp_path) as opened:
        yield opened


def test_signing_in_where_the_address_is_enough(instance: Instance, tmp_path: Path) -> None:
    """Who is let in anyway has no text kept as a token; who is known by the token, as somebody else, has."""
    token = add_token(tmp_path / "tokens", "carol", Role.VIEWER)
    with serve_in_thread(instance, ServerSettings(live=QUICK, drain_s=2.0)) as server:

        def sign_in(text: str) -> httpx.Response:
            return httpx.post(f"{server.url}/login", data={"token": text}, timeout=PATIENCE_S)

        anything = sign_in("any-text-at-all")
        assert (anything.status_code, "set-cookie" in anything.headers) == (200, False)
        assert "let in without a token" in anything.text and "Signed in as desk" in anything.text
        assert "any-text-at-all" not in anything.text
        for known in ("alices", token):
            answer = sign_in(known)
            assert (answer.status_code, known in answer.headers["set-cookie"]) == (303, True)


def test_readiness_asks_a_few_at_a_time(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a storage is unhealthy, whoever asks for /readyz has an authenticator that hangs asked a few times at once,
    and not once for each; who has a token of the file is told what is wrong all the while."""
    token = add_token(tmp_path / "tokens", "carol", Role.VIEWER)
    monkeypatch.setattr(type(instance.runs), "health", lambda self: Health(False, "The disk is full."))
    settings = replace(ServerSettings(live=QUICK, drain_s=2.0), ready_timeout_s=PATIENCE_S)
    with serve_in_thread(instance, settings) as server, ThreadPoolExecutor(20) as clients:

        def ready(token: str) -> str:
            answer = httpx.get(f"{server.url}/readyz", headers=bearer(token), timeout=PATIENCE_S)
            assert answer.status_code == 503
            problem: str = answer.json()["problems"]["run_storage"]
            return problem

        try:
            waiting = [clients.submit(ready, "hangs") for _ in range(20)]
            # All but those for whom it is asked have their answer.
            until(lambda: sum(one.done() for one in waiting) == 16)
            assert {one.result() for one in waiting if one.done()} == {SHORT}
            assert ByAddress.asked == ["hangs"] * 4
            assert ready(token) == "The disk is full."
            assert ready("anything") == SHORT
        finally:
            ByAddress.may_answer.set()
        assert {one.result() for one in waiting} == {SHORT}
        assert ready("anything") == "The disk is full."


def test_readiness_waits_no_longer_than_for_a_storage(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authenticator that hangs holds up what is known of the storages no longer than one of these may."""
    monkeypatch.setattr(type(instance.runs), "health", lambda self: Health(False, "The disk is full."))
    settings = replace(ServerSettings(live=QUICK, drain_s=2.0), ready_timeout_s=0.2)
    with serve_in_thread(instance, settings) as server:
        try:
            for _ in range(3):
                answer = httpx.get(f"{server.url}/readyz", headers=bearer("hangs"), timeout=PATIENCE_S)
                assert answer.status_code == 503
                assert answer.json()["problems"]["run_storage"] == SHORT
        finally:
            ByAddress.may_answer.set()


async def test_one_address_leaves_room_for_others() -> None:
    """However many requests with wrong tokens one address has under way, an authenticator that takes its time is asked
    for another address at once."""
    ByAddress.may_answer.clear()
    gate = Gate(authenticator=ByAddress())
    wrong = [asyncio.create_task(gate.identify(Credentials("hangs", client_host="192.0.2.1"))) for _ in range(2 * MOST)]
    await asyncio.sleep(0)
    try:
        assert await gate.identify(Credentials("alices", client_host="192.0.2.2")) == Identity("alice", Role.ADMIN)
    finally:
        ByAddress.may_answer.set()
        assert await asyncio.gather(*wrong) == [None] * len(wrong)
