"""The subscriptions' messages; how a feed behaves is tested in tests/live."""

from __future__ import annotations

from typing import Any

import pytest

from daglens.storage import event_types as et
from daglens.storage.records import ComputeIO, EventDraft, LogKey
from tests.api.conftest import Api

EVENTS = """
subscription Events($id: ID! = "r", $after: Cursor, $filter: EventFilter) {
  runEvents(runId: $id, after: $after, filter: $filter) {
    __typename
    ... on RunEventsBatch { events { __typename seq cursor } cursor throughSeq caughtUp runStatus }
    ... on RunDeleted { runId }
    ... on Error { code message }
  }
}
"""
PAGE = """
query Q($after: Cursor, $n: Int! = 100) {
  runEventsOrError(runId: "r", after: $after, limit: $n) { ... on EventPage { nodes { seq } cursor } }
}
"""
LOG = """
subscription Log($id: ID! = "r", $step: String! = "a", $attempt: Int, $after: Cursor) {
  computeLog(runId: $id, stepKey: $step, ioType: STDOUT, attempt: $attempt, after: $after) {
    __typename
    ... on ComputeLogChunk { attempt data startCursor cursor hasMore complete invalidBytes startByte endByte }
    ... on ComputeLogUnavailableError { reason }
    ... on Error { code message }
  }
}
"""


async def first(api: Api, document: str, **variables: Any) -> dict[str, Any]:
    """The first message of a subscription, which is then closed."""
    stream = api.listen(document, **variables)
    answer = await anext(stream)
    assert answer.errors == []
    await stream.aclose()
    (message,) = answer.data.values()
    return dict(message)


async def test_a_batch(live_api: Api) -> None:
    """Events with their types, the cursor to go on with, and where the run stands; closing it leaves no viewer."""
    live_api.add("r", EventDraft(et.RUN_START, data={"pipelineName": "p"}), EventDraft(et.STEP_SKIPPED, "a"))
    message = await first(live_api, EVENTS)
    assert [event["__typename"] for event in message["events"]] == ["RunStartEvent", "ExecutionStepSkippedEvent"]
    assert (message["throughSeq"], message["caughtUp"], message["runStatus"]) == (2, True, "STARTED")
    assert message["cursor"] == message["events"][-1]["cursor"]
    assert live_api.viewers == 0


async def test_its_cursor_is_a_pages(live_api: Api) -> None:
    """A batch's cursor goes on in a page, and a page's in a subscription."""
    live_api.add("r", *(EventDraft(et.LOG_MESSAGE) for _ in range(5)))
    begun = (await live_api.get(PAGE, n=2))["runEventsOrError"]
    message = await first(live_api, EVENTS, after=begun["cursor"])
    assert [event["seq"] for event in message["events"]] == [3, 4, 5]
    live_api.instance.append("r", [EventDraft(et.LOG_MESSAGE)])
    rest = (await live_api.get(PAGE, after=message["cursor"]))["runEventsOrError"]
    assert [event["seq"] for event in rest["nodes"]] == [6]


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"id": "nobody"}, "RUN_NOT_FOUND"),
        ({"id": "\u0000"}, "RUN_NOT_FOUND"),
        ({"after": "nonsense"}, "INVALID_CURSOR"),
        ({"after": ""}, "INVALID_CURSOR"),
        ({"filter": {"stepKeys": ["x"] * 1001}}, "INVALID_FILTER"),
    ],
)
async def test_why_there_is_no_feed(live_api: Api, variables: dict[str, Any], code: str) -> None:
    """What a client can act on is one message, and the end."""
    live_api.add("r")
    messages = [answer async for answer in live_api.listen(EVENTS, **variables)]
    assert [(m.errors, m.data["runEvents"]["code"]) for m in messages] == [([], code)]


async def test_a_storage_that_fails(live_api: Api) -> None:
    """A feed that can't be joined answers with errors[]: code, errorId, and the end."""
    live_api.add("r")
    live_api.events.failure = OSError("gone")
    messages = [answer async for answer in live_api.listen(EVENTS)]
    assert [message.codes for message in messages] == [["STORAGE_UNAVAILABLE"]]


async def test_where_nothing_is_live(api: Api) -> None:
    """Without a hub a subscription answers NOTHING_LIVE."""
    assert [message.codes async for message in api.listen(EVENTS)] == [["NOTHING_LIVE"]]


async def test_a_chunk(live_api: Api) -> None:
    """Text of a log, with the cursors that `chunkOrError` takes too."""
    live_api.add("r", EventDraft(et.RUN_START))
    key = LogKey("r", "a")
    live_api.logs.inner.append(key, ComputeIO.STDOUT, 0, "ünï\n".encode(), complete=True)
    message = await first(live_api, LOG)
    assert (message["data"], message["attempt"], message["startByte"], message["endByte"]) == ("ünï\n", 1, "0", "6")
    page = await live_api.get(
        """query Q($after: Cursor) { runOrError(runId: "r") { ... on Run { computeLog(stepKey: "a") {
             stdout { chunkOrError(after: $after) { ... on ComputeLogChunk { data complete } } } } } } }""",
        after=message["startCursor"],
    )
    assert page["runOrError"]["computeLog"]["stdout"]["chunkOrError"] == {"data": "ünï\n", "complete": True}


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"id": "nobody"}, "RUN_NOT_FOUND"),
        ({"after": "x"}, "INVALID_CURSOR"),
        ({"attempt": 0}, "COMPUTE_LOG_UNAVAILABLE"),
    ],
)
async def test_why_there_is_no_log(live_api: Api, variables: dict[str, Any], code: str) -> None:
    """What a client can act on is one message, and the end."""
    live_api.add("r", EventDraft(et.RUN_START))
    messages = [answer async for answer in live_api.listen(LOG, **variables)]
    assert [(m.errors, m.data["computeLog"]["code"]) for m in messages] == [([], code)]
