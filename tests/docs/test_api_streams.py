"""docs/api.md, "Server-Sent Events": its page and its example of a stream are what a server and an EventSource do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.records import EventDraft, NewRun
from daglens.testing.server import LiveServer, serve_in_thread
from tests.docs.snippets import ROOT, marked
from tests.live.conftest import QUICK

DOCUMENT = "docs/api.md"
ADDRESS = "http://127.0.0.1:3000"
EVENT_SOURCE = ROOT / "tests" / "npm" / "node_modules" / "eventsource" / "dist" / "index.js"


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A server with the run that the document speaks of, which is over."""
    with Instance.ephemeral() as instance, serve_in_thread(instance, ServerSettings(live=QUICK)) as served:
        instance.create_run(NewRun("nightly-1", "nightly"))
        drafts = [EventDraft("RUN_START", message="begun"), EventDraft("RUN_SUCCESS", message="done")]
        instance.append("nightly-1", drafts)
        yield served


def test_the_stream(server: LiveServer) -> None:
    """The page's own operation gives just the lines that stand there, but for the cursor."""
    (page,), (stream,) = marked(DOCUMENT, "event source"), marked(DOCUMENT, "event stream")
    query = page.text.partition("`")[2].partition("`;")[0]
    answer = httpx.get(
        f"{server.url}/graphql",
        params={"query": query, "variables": '{"runId": "nightly-1"}'},
        headers={"accept": "text/event-stream"},
        timeout=60,
    )

    def comparable(text: str) -> list[str]:
        return [line.rstrip() for line in re.sub(r"e1\.[0-9a-f]{16}\.", "e1.….", text).splitlines()]

    assert comparable(answer.text) == comparable(stream.text)


@pytest.mark.system
def test_the_page(server: LiveServer, tmp_path: Path) -> None:
    """Run with npm's EventSource, its script logs the events and ends with the run."""
    (page,) = marked(DOCUMENT, "event source")
    assert ADDRESS in page.text
    script = tmp_path / "page.mjs"
    imported = f'import {{ EventSource }} from "{EVENT_SOURCE.as_uri()}";\n'
    script.write_text(imported + page.text.replace(ADDRESS, server.url), encoding="utf-8")
    node = shutil.which("node")
    assert node and EVENT_SOURCE.is_file(), "run `npm ci` in tests/npm; it needs Node"
    done = subprocess.run([node, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert "runEvents: { events: [Array], runStatus: 'SUCCESS' }" in done.stdout
