"""GraphiQL in a real browser that reaches nothing but the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.system.conftest import Server

pytestmark = pytest.mark.system

PIPELINE = """
import sys
import daglens

with daglens.start_run("watched", run_id="watched") as run:
    with run.step("talk") as step:
        print("started", flush=True)
        sys.stdin.readline()
        for number in range(200):
            step.log.info("message %d", number)
"""


def record(server: Server, **options: Any) -> subprocess.Popen[str]:
    """A pipeline in a process of its own: it begins a step, waits for a line, then logs 200 messages and ends."""
    return subprocess.Popen(
        [sys.executable, "-c", PIPELINE], env=server.env, stdin=subprocess.PIPE, text=True, **options
    )


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    """Let the page work until something holds, for half a minute at most."""
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never held")


def open_page(page: Page, url: str) -> None:
    """Load GraphiQL and wait for the schema: what it sends before depends on how far it has come."""
    with page.expect_response(f"{url}/graphql"):
        page.goto(f"{url}/graphiql")
    page.get_by_role("button", name="Show Documentation Explorer").click()
    expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Query")


def choose_tab(page: Page, name: str) -> None:
    """Open the tab of this operation, and wait until GraphiQL knows its name, which takes it a moment after the click.

    Within that moment it would send the former tab's operation name. What it knows it keeps in the local storage.
    """
    page.get_by_role("tab", name=name).click()

    def is_known() -> bool:
        kept = json.loads(page.evaluate("() => localStorage.getItem('graphiql:tabState')") or "{}")
        return bool(kept) and kept["tabs"][kept["activeTabIndex"]].get("operationName") == name

    wait_until(page, is_known)


def test_the_page_shows_a_recorded_run(server: Server, page: Page):
    """The first tab, run as it is, lists the run; every request went to the server."""
    with record(server) as pipeline:
        pipeline.communicate("\n", timeout=60)
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.goto(f"{server.url}/")
    expect(page.get_by_role("tab", name="RunsPage")).to_be_visible()
    page.get_by_role("button", name="Execute query (Ctrl-Enter)").click()
    result = page.locator(".result-window")
    expect(result).to_contain_text('"runId": "watched"')
    expect(result).to_contain_text('"status": "SUCCESS"')
    assert asked == {urlsplit(server.url).netloc}


def test_a_subscription_receives_events_while_a_pipeline_runs(server: Server, page: Page):
    """Each event of the run, those before and those after subscribing, comes once and in order over the socket."""
    frames: list[dict[str, Any]] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: frames.append(json.loads(frame)))

    def batches() -> list[dict[str, Any]]:
        return [frame["payload"]["data"]["runEvents"] for frame in frames if frame["type"] == "next"]

    page.on("websocket", listen)
    with record(server, stdout=subprocess.PIPE) as pipeline:
        assert pipeline.stdout is not None
        assert pipeline.stdin is not None
        assert pipeline.stdout.readline() == "started\n"
        open_page(page, server.url)
        choose_tab(page, "RunEventsLive")
        page.get_by_role("button", name="Execute query (Ctrl-Enter)").click()
        wait_until(page, lambda: any(batch["caughtUp"] for batch in batches()))
        assert {batch["runStatus"] for batch in batches()} == {"STARTED"}
        pipeline.stdin.write("\n")
        pipeline.stdin.flush()
        wait_until(page, lambda: batches()[-1]["runStatus"] == "SUCCESS" and batches()[-1]["caughtUp"])
    expect(page.locator(".result-window")).to_contain_text("RunEventsBatch")
    events = [event for batch in batches() for event in batch["events"]]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [e["message"] for e in events if e["__typename"] == "LogMessageEvent"] == [
        f"message {n}" for n in range(200)
    ]
    assert events[-1]["eventType"] == "RUN_SUCCESS"
    assert len(batches()) > 1


def test_every_example_of_the_first_tabs_is_valid(server: Server, page: Page):
    """Each tab opens with an operation that the schema accepts: the editor marks no mistake in it."""
    with record(server) as pipeline:
        pipeline.communicate("\n", timeout=60)
    open_page(page, server.url)
    tabs = page.get_by_role("tab")
    count = tabs.count()
    assert count >= 10
    for index in range(count):
        tabs.nth(index).click()
        expect(tabs.nth(index)).to_have_attribute("aria-selected", "true")
        expect(page.locator(".graphiql-query-editor .CodeMirror-lint-mark-error")).to_have_count(0)
