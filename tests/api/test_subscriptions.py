"""The subscriptions' messages; how a feed behaves is tested in tests/live."""

from __future__ import annotations

from contextlib import aclosing
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
RUNS = """
subscription Runs($filter: RunsFilter, $limit: Int! = 25, $after: Cursor) {
  runs(filter: $filter, limit: $limit, after: $after) {
    __typename
    ... on RunsBatch { changed { runId status tags { key value } } unmatched deleted cursor caughtUp }
    ... on Error { code message }
  }
}
"""
DEEP = """
subscription Deep($after: Cursor) {
  runs(after: $after) {
    ... on RunsBatch {
      cursor
      changed {
        runId runConfig runConfigYaml durationSeconds lastHeardAt canTerminate
        stats { events stepsSucceeded }
        stepStats { stepKey status attempts }
        events(limit: 1, order: NEWEST_FIRST) { nodes { seq eventType } }
        computeLogs { stepKey stdout { sizeBytes } }
        artifacts { nodes { path } }
      }
    }
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


async def test_the_context_names_the_place(live_api: Api) -> None:
    """A transport learns each message's cursor, selected or not, and can say where a subscription goes on instead of
    its `after`."""
    live_api.add("r", *(EventDraft(et.LOG_MESSAGE) for _ in range(3)))
    document = """subscription { runEvents(runId: "r", after: "nonsense") { ... on RunEventsBatch { throughSeq } } }"""
    page = (await live_api.get(PAGE, n=2))["runEventsOrError"]
    context = live_api.context()
    context.resume_after = page["cursor"]
    async with aclosing(await live_api.schema.subscribe(document, context_value=context)) as stream:
        assert (await anext(stream)).data == {"runEvents": {"throughSeq": 3}}
    assert context.cursor == page["cursor"].removesuffix("2") + "3"
    context.resume_after = "nonsense"
    async with aclosing(await live_api.schema.subscribe(document, context_value=context)) as stream:
        assert (await anext(stream)).data == {"runEvents": {}}
    assert context.cursor is None


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


# ------------------------------------------------------------ the list of runs


async def test_a_batch_of_runs(live_api: Api) -> None:
    """Runs newest first, then what changes, with the cursor to go on with; closing it leaves no viewer."""
    live_api.add("a", tags=(("team", "core"),))
    live_api.add("b", EventDraft(et.RUN_START))
    stream = live_api.listen(RUNS, filter={"statuses": ["STARTED", "NOT_STARTED"]})
    batch = (await anext(stream)).data["runs"]
    assert [(run["runId"], run["status"]) for run in batch["changed"]] == [("b", "STARTED"), ("a", "NOT_STARTED")]
    assert batch["changed"][1]["tags"] == [{"key": "team", "value": "core"}]
    assert (batch["unmatched"], batch["deleted"], batch["caughtUp"]) == ([], [], True)
    live_api.instance.append("b", [EventDraft(et.RUN_SUCCESS)])
    batch = (await anext(stream)).data["runs"]
    assert (batch["changed"], batch["unmatched"]) == ([], ["b"])
    await stream.aclose()
    assert live_api.viewers == 0
    live_api.instance.runs.delete(["a"])
    message = await first(live_api, RUNS, after=batch["cursor"])
    assert (message["changed"], message["deleted"], message["caughtUp"]) == ([], ["a"], True)


async def test_runs_in_depth(live_api: Api) -> None:
    """Runs of a batch have every field of a run; however many there are, each storage is asked as often."""
    drafts = [EventDraft(et.RUN_START), EventDraft(et.STEP_START, "s"), EventDraft(et.STEP_SUCCESS, "s")]
    live_api.add("r0", *drafts, run_config={"n": 1})
    live_api.artifacts.inner.put("r0", "report.txt")
    live_api.logs.inner.append(LogKey("r0", "s"), ComputeIO.STDOUT, 0, b"text")
    begun = await first(live_api, DEEP)
    (run,) = begun["changed"]
    assert (run["runConfig"], run["runConfigYaml"]) == ({"n": 1}, "n: 1\n")
    assert run["stats"] == {"events": 3, "stepsSucceeded": 1}
    assert run["stepStats"] == [{"stepKey": "s", "status": "SUCCESS", "attempts": 1}]
    assert run["events"]["nodes"] == [{"seq": 3, "eventType": "STEP_SUCCESS"}]
    assert run["computeLogs"] == [{"stepKey": "s", "stdout": {"sizeBytes": "4"}}]
    assert run["artifacts"]["nodes"] == [{"path": "report.txt"}]
    asked = []
    for names in (["r1"], [f"many{n}" for n in range(30)]):
        for name in names:
            live_api.add(name, *drafts)
        live_api.forget()
        begun = await first(live_api, DEEP, after=begun["cursor"])
        assert [run["runId"] for run in begun["changed"]] == names
        asked.append({kind: sorted(live_api.asked[kind]) for kind in ("events", "logs", "runs")})
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"after": "nonsense"}, "INVALID_CURSOR"),
        ({"after": ""}, "INVALID_CURSOR"),
        ({"after": "c1.WyJ4LTEiXQ"}, "INVALID_CURSOR"),
        ({"filter": {"runIds": ["x"] * 1001}}, "INVALID_FILTER"),
    ],
)
async def test_why_there_is_no_list(live_api: Api, variables: dict[str, Any], code: str) -> None:
    """What a client can act on is one message, and the end."""
    messages = [answer async for answer in live_api.listen(RUNS, **variables)]
    assert [(m.errors, m.data["runs"]["code"]) for m in messages] == [([], code)]


async def test_a_cursor_of_a_page_is_none_of_the_live_list(live_api: Api) -> None:
    """A cursor that was taken from a page of runs is told from one of the live list."""
    live_api.add("r")
    page = await live_api.get("{ runsOrError { ... on RunPage { cursor } } }")
    assert (await first(live_api, RUNS, after=page["runsOrError"]["cursor"]))["code"] == "INVALID_CURSOR"


async def test_limits_of_the_list(live_api: Api) -> None:
    """A negative limit is BAD_LIMIT; 0 gives an empty first batch."""
    live_api.add("r")
    assert [message.codes async for message in live_api.listen(RUNS, limit=-1)] == [["BAD_LIMIT"]]
    assert (await first(live_api, RUNS, limit=0))["changed"] == []


async def test_a_list_whose_storage_fails(live_api: Api) -> None:
    """A list that can't be joined answers with errors[]; where only the log fails, the runs come without it."""
    live_api.add("r")
    live_api.events.failure = OSError("gone")
    stream = live_api.listen(DEEP)
    answer = await anext(stream)
    assert answer.data["runs"]["changed"][0]["stats"] is None
    assert set(answer.codes) == {"STORAGE_UNAVAILABLE"}
    await stream.aclose()
    live_api.runs.failure = OSError("gone")
    assert [message.codes async for message in live_api.listen(RUNS)] == [["STORAGE_UNAVAILABLE"]]
