"""docs/api.md, "Server-Sent Events": its page and its example of a stream are what a server and an EventSource do."""

from __future__ import annotations

import re
import shutil
import socket
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
from tests.server.conftest import until

DOCUMENT = "docs/api.md"
ADDRESS = "http://127.0.0.1:3000"
MODULES = ROOT / "tests" / "npm" / "node_modules"
EVENT_SOURCE = MODULES / "eventsource" / "dist" / "index.js"


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


@pytest.mark.system
def test_graphql_ws(tmp_path: Path) -> None:
    """The program for npm's graphql-ws logs each event once and in order, from a server that is started anew meanwhile,
    and ends with the run."""
    (program,) = marked(DOCUMENT, "graphql-ws")
    assert "ws://127.0.0.1:3000" in program.text
    script = tmp_path / "page.mjs"
    (tmp_path / "node_modules").symlink_to(MODULES)
    node = shutil.which("node")
    assert node and (MODULES / "graphql-ws").is_dir(), "run `npm ci` in tests/npm; it needs Node"
    with Instance.ephemeral() as instance:
        instance.create_run(NewRun("nightly-1", "nightly"))
        instance.append(
            "nightly-1", [EventDraft("RUN_START", message="begun"), EventDraft("LOG_MESSAGE", message="on")]
        )
        with serve_in_thread(instance, ServerSettings(live=QUICK)) as first:
            text = program.text.replace("ws://127.0.0.1:3000/graphql", first.socket_url)
            text = text.replace("retryAttempts: Infinity,", "retryAttempts: Infinity, retryWait: async () => {},")
            # Node 20 has no WebSocket of its own, and the client looks for it when it is made.
            script.write_text(
                f'import WebSocket from "ws";\nglobalThis.WebSocket = WebSocket;\n{text}', encoding="utf-8"
            )
            client = subprocess.Popen([node, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert client.stdout is not None
            lines = [client.stdout.readline(), client.stdout.readline()]
            port = int(first.url.rpartition(":")[2])
        # It tries while the server isn't back yet.
        with socket.create_server(("127.0.0.1", port)) as away:
            away.settimeout(60)
            away.accept()[0].close()
        with client, serve_in_thread(instance, ServerSettings(live=QUICK), port=port) as second:
            until(lambda: client.poll() is not None or bool(second.on_loop(lambda: second.hub.watched)))
            instance.append("nightly-1", [EventDraft("RUN_SUCCESS", message="done")])
            rest, problems = client.communicate(timeout=120)
    assert (client.returncode, problems) == (0, "")
    assert [*lines, *rest.splitlines(keepends=True)] == [
        "1 RUN_START begun\n",
        "2 LOG_MESSAGE on\n",
        "3 RUN_SUCCESS done\n",
    ]
