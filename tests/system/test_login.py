"""Signing in with a real browser, and GraphiQL afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, expect

from daglens.access import Role
from daglens.access.token_file import add_token
from tests.system.conftest import Server, serving
from tests.system.test_graphiql import choose_tab, record, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """A viewer's token and a recorder's."""
    return {role: add_token(tmp_path / "tokens", role, role) for role in (Role.VIEWER, Role.RECORDER)}


@pytest.fixture
def guarded(tmp_path: Path, tokens: dict[str, str]) -> Iterator[Server]:
    """A server that asks for them."""
    with serving(tmp_path / "home", "--tokens", str(tmp_path / "tokens")) as server:
        yield server


def test_signing_in(guarded: Server, page: Page, tokens: dict[str, str]) -> None:
    """The page asks for a token, which no script can read afterwards; GraphiQL then queries and subscribes by it. Who
    signs out is asked again."""
    with record(guarded) as pipeline:
        pipeline.communicate("\n", timeout=60)
    frames: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: frames.append(str(frame)))

    page.on("websocket", listen)
    page.goto(guarded.url)
    expect(page).to_have_url(f"{guarded.url}/login")
    page.get_by_label("Token").fill(tokens[Role.VIEWER])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{guarded.url}/graphiql")
    assert page.evaluate("() => document.cookie") == ""
    expect(page.get_by_role("tab", name="RunsPage")).to_be_visible()
    execute = page.get_by_role("button", name="Execute query (Ctrl-Enter)")
    execute.click()
    expect(page.locator(".result-window")).to_contain_text('"runId": "watched"')
    choose_tab(page, "RunEventsLive")
    execute.click()
    wait_until(page, lambda: any("RUN_SUCCESS" in frame for frame in frames))

    sign_out = page.get_by_role("button", name="Sign out")
    expect(sign_out).to_have_attribute("title", "Signed in as viewer: viewer")
    sign_out.click()
    expect(page).to_have_url(f"{guarded.url}/login")
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(f"{guarded.url}/schema.graphql")
    expect(page).to_have_url(f"{guarded.url}/login?next=/schema.graphql")
    page.get_by_label("Token").fill(tokens[Role.VIEWER])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{guarded.url}/schema.graphql")

    page.goto(f"{guarded.url}/login")
    expect(page.locator("main")).to_contain_text("Signed in as viewer: viewer.")
    sign_out.click()
    expect(sign_out).to_be_hidden()
    page.goto(guarded.url)
    expect(page).to_have_url(f"{guarded.url}/login")


def test_the_headers_tab(guarded: Server, page: Page, tokens: dict[str, str]) -> None:
    """A mutation that the cookie's role doesn't allow is carried out by the token of the Headers tab."""
    page.goto(f"{guarded.url}/login")
    page.get_by_label("Token").fill(tokens[Role.VIEWER])
    page.get_by_role("button", name="Sign in").click()
    mutation = 'mutation { createRun(input: {pipelineName: "p"}) { ... on CreateRunSuccess { run { createdBy } } } }'
    result = page.locator(".result-window")
    expect(page.get_by_role("tab", name="RunsPage")).to_be_visible()
    page.get_by_role("button", name="New tab").click()
    page.locator(".graphiql-query-editor .CodeMirror").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(mutation)
    page.keyboard.press("Control+Enter")
    expect(result).to_contain_text("FORBIDDEN")
    page.get_by_role("button", name="Headers", exact=True).click()
    page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(json.dumps({"Authorization": f"Bearer {tokens[Role.RECORDER]}"}))
    page.keyboard.press("Control+Enter")
    expect(result).to_contain_text('"createdBy": "recorder"')
