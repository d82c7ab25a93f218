"""What a request over HTTP costs in calls of Python functions, whatever the machine does meanwhile.

Counted on the event loop, from the application down: that is what all requests of a server queue for. The threads'
part is that of the storages (tests/storages).
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from types import FrameType
from typing import Any

import pytest

from daglens.instance import Instance
from daglens.server.app import create_app
from daglens.storage.records import ComputeIO, EventDraft, LogKey, NewRun

RUN = "runId pipelineName status tags { key value } createdAt startedAt endedAt"
EVENT = "__typename runId seq message timestamp level stepKey eventType ... on LogMessageEvent { logger }"

# Measured: 1245, 1459 and 1152. A quarter of room: some 10 calls more per run, or one per event, are far above it.
CASES = {
    f'{{ runOrError(runId: "run-7") {{ ... on Run {{ {RUN} }} }} }}': 1_550,
    f"{{ runsOrError(limit: 25) {{ ... on RunPage {{ nodes {{ {RUN} }} }} }} }}": 1_800,
    f'{{ runEventsOrError(runId: "run-7", limit: 1000) {{ ... on EventPage {{ nodes {{ {EVENT} }} }} }} }}': 1_450,
}


@pytest.mark.parametrize(("document", "most"), CASES.items(), ids=["one run", "25 runs", "1000 events"])
async def test_calls_per_request(document: str, most: int) -> None:
    """Python functions that one answer takes on the event loop, once the document is known."""
    with Instance.ephemeral() as instance:
        for number in range(30):
            instance.create_run(NewRun(f"run-{number}", "nightly", tags=(("team", "core"), ("env", "prod"))))
        drafts = [EventDraft("LOG_MESSAGE", "extract", message=f"row {n}", data={"logger": "etl"}) for n in range(1000)]
        instance.append("run-7", drafts)
        app = create_app(instance)
        counts = [await calls_of(app, document) for _ in range(8)]
    # The first ones parse, validate and plan; of the others the least, as a loop that turns once more calls more.
    assert min(counts) <= most, counts


async def test_nothing_is_left_for_the_garbage_collector() -> None:
    """What was made for a request goes with its answer. What Python's collector has to find it finds in pauses, which
    all requests wait for; and until it comes, texts of megabytes may hang on it."""
    log = 'computeLog(stepKey: "extract") { attempts stdout { chunkOrError { ... on ComputeLogChunk { data } } } }'
    left = []
    with Instance.ephemeral() as instance:
        instance.create_run(NewRun("run-7", "nightly"))
        instance.compute_logs.append(LogKey("run-7", "extract"), ComputeIO.STDOUT, 0, b"text")
        app = create_app(instance)
        gc.disable()
        try:
            for _ in range(8):
                gc.collect()
                await calls_of(app, f'{{ runOrError(runId: "run-7") {{ ... on Run {{ {RUN} {log} }} }} }}')
                left.append(gc.collect())
        finally:
            gc.enable()
    # Of several, since other threads may leave something now and then.
    assert min(left) == 0, left


async def calls_of(app: Any, document: str) -> int:
    """Answer one request; how many Python functions were called in this thread until its answer was sent."""
    body = json.dumps({"query": document}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 3000),
        "state": {},
    }
    given: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []
    calls = 0

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    def count(frame: FrameType, what: str, argument: object) -> None:
        nonlocal calls
        calls += what == "call"

    sys.setprofile(count)
    try:
        await app(scope, receive, send)
    finally:
        sys.setprofile(None)
    answer = json.loads(b"".join(message.get("body", b"") for message in sent))
    assert sent[0]["status"] == 200 and "errors" not in answer, answer
    return calls
