"""Hot lists go by plans, on every way they are asked for; what that saves is counted, not timed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from graphql import parse

from daglens.schema.build import build_schema
from daglens.schema.compiled import CompiledExecutionContext, Counters, counters
from daglens.schema.compiled.plan_cache import PlanCache
from daglens.schema.run_configs import RunConfig
from daglens.schema.run_objects import RunRows
from daglens.storage.records import EventDraft, EventRecord, Head, RunRecord, RunStatus
from tests.api import operations
from tests.api.compiled_lists import INCARNATION, NOW_US, Lists, schema_of
from tests.api.conftest import Api

EVENTS = "{ events { runId seq cursor timestamp level message eventType stepKey } }"
TYPED_EVENTS = "{ events { __typename seq timestamp message ... on LogMessageEvent { logger } } }"
RUNS = (
    "{ runs { runId pipelineName status createdAt startedAt endedAt durationSeconds canTerminate tags { key value } "
    "stats { stepsSucceeded stepsFailed events } } }"
)


def since(before: Counters) -> dict[str, int]:
    """What was counted since, zeros left out."""
    now = counters()
    grown = {name: getattr(now, name) - getattr(before, name) for name in Counters.__slots__}
    return {name: count for name, count in grown.items() if count and name != "plans"}


@pytest.fixture
def recorded(api: Api) -> Api:
    drafts = [EventDraft("STEP_START", "extract", data={"attempt": 1}), EventDraft("LOG_MESSAGE", message="hello")]
    for number in (1, 2):
        api.add(f"run-{number}", EventDraft("RUN_START", data={"pipelineName": "nightly"}), *drafts, tags=(("a", "1"),))
    return api


@pytest.mark.parametrize(
    ("document", "variables", "counted"),
    [
        pytest.param(
            '{ runEventsOrError(runId: "run-1") { ... on EventPage { nodes { seq } } } }', {}, {"fast": 1}, id="page"
        ),
        pytest.param(operations.text("run-events-page.graphql"), {"runId": "run-1"}, {"fast": 1}, id="event-operation"),
        pytest.param(
            '{ runEventsOrError(runId: "run-1", waitSeconds: 1) { ... on EventPage { nodes { message } } } }',
            {},
            {"fast": 1},
            id="long-poll",
        ),
        pytest.param(operations.text("runs-page.graphql"), {}, {"fast": 1}, id="run-operation"),
        pytest.param(
            "{ runsOrError { ... on RunPage { nodes { runId events { nodes { seq } } stepStats { stepKey } } } } }",
            {},
            {"fast": 5, "mixed": 1},
            id="runs-with-events-and-steps",
        ),
    ],
)
async def test_hot_lists_go_by_plans(
    recorded: Api, live_api: Api, document: str, variables: dict[str, Any], counted: dict[str, int]
) -> None:
    """Pages of events and runs, events and steps of listed runs, and long polls are answered without surprises."""
    before = counters()
    await recorded.get(document, **variables)
    assert since(before) == counted


async def test_batches_go_by_plans(recorded: Api, live_api: Api) -> None:
    """Batches of a subscription do too."""
    before = counters()
    async for message in live_api.listen(operations.text("run-events-live.graphql"), runId="run-1"):
        assert len(message.data["runEvents"]["events"]) == 3
        break
    assert since(before) == {"fast": 1}


def test_plans_are_few() -> None:
    """A client that sends ever new documents makes the server keep a bounded number of plans."""
    schema = build_schema()._schema
    assert schema.query_type is not None
    kind = schema.query_type.fields["runTagKeys"].type
    cache = PlanCache(most=10)
    for number in range(50):
        (definition,) = parse(f"{{ a{number}: version }}").definitions
        node = definition.selection_set.selections[0]  # type: ignore[attr-defined]
        detail = type("Detail", (), {"node": node})()
        selection = cache.selection(kind, list, [detail], {})
        for value in range(50):
            selection.keep((value,), None)
        assert len(selection.plans) <= 16
    assert len(cache) == 10


# ---------------------------------------------------------------- what it saves


def stored_events(count: int) -> list[EventRecord]:
    return [
        EventRecord("run-1", seq, None, "LOG_MESSAGE", "extract", 20, f"line {seq}", NOW_US + seq * 1000, "{}")
        for seq in range(1, count + 1)
    ]


def stored_runs(count: int) -> RunRows:
    tags = (("team", "core"), ("env", "prod"))
    times = (NOW_US, NOW_US, NOW_US, NOW_US + 5)
    run = RunRecord(
        "", "nightly", RunStatus.SUCCESS, tags, "{}", None, None, None, *times, None, None, None, False, 0, ""
    )
    runs = [run._replace(run_id=f"run-{number}") for number in range(count)]
    heads = {run.run_id: Head(run.run_id, INCARNATION, 7) for run in runs}
    return RunRows(runs, heads, [RunConfig({}, "")] * count, NOW_US)


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions, Python's and C's, the work calls: the same on every machine, however busy."""
    called = 0

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal called
        if event in ("call", "c_call"):
            called += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return called


@pytest.mark.parametrize(
    ("document", "least"),
    [
        pytest.param(EVENTS, 100, id="events"),
        pytest.param(TYPED_EVENTS, 30, id="typed"),
        pytest.param(RUNS, 7, id="runs"),
    ],
)
def test_calls_saved(document: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 events, or 25 runs, cost a small part of the function calls that graphql-core's executor makes for them."""
    monkeypatch.setattr(CompiledExecutionContext, "plans", PlanCache())
    context = Lists(stored_events(1000), stored_runs(25), [])
    with asyncio.Runner() as runner:
        calls = []
        for compiled in (True, False):
            schema = schema_of(compiled=compiled)
            answers = []

            def answer() -> None:
                answers.append(runner.run(schema.execute(document, context_value=context)))  # noqa: B023

            answer()  # parsed, validated and planned
            calls.append(calls_of(answer))
            assert answers[-1].errors is None
        print(f"function calls, compiled and default: {calls}, {calls[1] / calls[0]:.1f} x")
        assert calls[1] >= least * calls[0]
