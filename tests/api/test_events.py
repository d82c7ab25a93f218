"""Pages of events over the API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, LogLevel
from tests.api.conftest import Api, until

PAGE = """
query Page($id: ID! = "r", $after: Cursor, $limit: Int! = 100, $filter: EventFilter,
           $order: EventsOrder! = OLDEST_FIRST, $wait: Float! = 0) {
  runEventsOrError(runId: $id, after: $after, limit: $limit, filter: $filter, order: $order, waitSeconds: $wait) {
    __typename
    ... on EventPage { nodes { seq cursor } cursor throughSeq hasMore }
    ... on Error { code message }
  }
}
"""


async def page(api: Api, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(PAGE, **variables))["runEventsOrError"]
    return found


async def walk(api: Api, **variables: Any) -> list[int]:
    """Seqs of all pages."""
    seqs: list[int] = []
    while True:
        found = await page(api, **variables)
        seqs += [node["seq"] for node in found["nodes"]]
        variables["after"] = found["cursor"]
        if not found["hasMore"]:
            return seqs


@pytest.fixture
def logged(api: Api) -> Api:
    """A run `r` of 20 events: every third is a failure of step s0, s1 or s2."""
    drafts = [
        EventDraft(et.STEP_FAILURE, f"s{n // 3 % 3}", LogLevel.ERROR)
        if n % 3 == 0
        else EventDraft(et.LOG_MESSAGE, None, LogLevel.DEBUG)
        for n in range(20)
    ]
    api.add("r", *drafts)
    return api


@pytest.mark.parametrize("limit", [1, 7, 20, 1000])
async def test_a_walk_gives_each_event_once(logged: Api, limit: int) -> None:
    """Pages of any size add up to the log, in either direction."""
    assert await walk(logged, limit=limit) == list(range(1, 21))
    assert await walk(logged, limit=limit, order="NEWEST_FIRST") == list(range(20, 0, -1))


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, list(range(1, 21))),
        ({}, list(range(1, 21))),
        ({"eventTypes": None, "minLevel": None}, list(range(1, 21))),
        ({"eventTypes": ["STEP_FAILURE"]}, [1, 4, 7, 10, 13, 16, 19]),
        ({"eventTypes": ["NEVER_HEARD_OF", "\u0000"]}, []),
        ({"eventTypes": []}, []),
        ({"stepKeys": ["s1", "s2"]}, [4, 7, 13, 16]),
        ({"stepKeys": []}, []),
        ({"minLevel": "ERROR"}, [1, 4, 7, 10, 13, 16, 19]),
        ({"minLevel": "CRITICAL"}, []),
        ({"stepKeys": ["s0"], "minLevel": "INFO", "eventTypes": ["STEP_FAILURE"]}, [1, 10, 19]),
    ],
)
async def test_filters(logged: Api, filter: dict[str, Any] | None, expected: list[int]) -> None:
    """All parts hold, lists mean any of, empty lists match nothing, null is no condition; either way, at any size."""
    for limit in (1, 1000):
        assert await walk(logged, filter=filter, limit=limit) == expected
        assert await walk(logged, filter=filter, limit=limit, order="NEWEST_FIRST") == expected[::-1]


@pytest.mark.parametrize("name", ["eventTypes", "stepKeys"])
async def test_a_filter_beyond_measure_is_refused(logged: Api, name: str) -> None:
    """More than 1,000 values are an InvalidFilterError, or INVALID_FILTER where there is no union."""
    found = await page(logged, filter={name: ["x"] * 1001})
    assert (found["__typename"], found["code"]) == ("InvalidFilterError", "INVALID_FILTER")
    answer = await logged.ask(
        'query Q($f: EventFilter) { runOrError(runId: "r") { ... on Run { events(filter: $f) { hasMore } } } }',
        {"f": {name: ["x"] * 1001}},
    )
    assert (answer.data["runOrError"], answer.codes) == ({"events": None}, ["INVALID_FILTER"])


async def test_a_cursor_is_a_place(logged: Api) -> None:
    """An event's or a page's cursor is good with any filter and order, and excludes the event it stands at."""
    cursor = (await page(logged, limit=7))["nodes"][-1]["cursor"]
    assert cursor == (await page(logged, limit=7))["cursor"]
    assert await walk(logged, after=cursor) == list(range(8, 21))
    assert await walk(logged, after=cursor, order="NEWEST_FIRST") == list(range(6, 0, -1))
    assert await walk(logged, after=cursor, filter={"minLevel": "ERROR"}) == [10, 13, 16, 19]


async def test_the_beginning_is_a_place_in_every_log(logged: Api) -> None:
    """The cursor before any event stays good when events come, also that of a run without a log."""
    logged.add("other")
    empty = await page(logged, id="other")
    assert (empty["nodes"], empty["hasMore"], empty["throughSeq"]) == ([], False, 0)
    beginning = (await page(logged, limit=0))["cursor"]
    assert beginning == empty["cursor"]
    logged.instance.append("other", [EventDraft(et.RUN_START)])
    assert await walk(logged, id="other", after=empty["cursor"]) == [1]


async def test_through_seq_and_more(logged: Api) -> None:
    """`throughSeq` tells how far was looked, events left out included; the cursor stands there."""
    found = await page(logged, filter={"stepKeys": ["s1"]})
    assert ([n["seq"] for n in found["nodes"]], found["throughSeq"], found["hasMore"]) == ([4, 13], 20, False)
    logged.instance.append("r", [EventDraft(et.LOG_MESSAGE)])
    assert await walk(logged, after=found["cursor"]) == [21]
    back = await page(logged, limit=3, order="NEWEST_FIRST")
    assert (back["throughSeq"], back["hasMore"]) == (19, True)


async def test_a_page_of_large_events_ends_early(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page holds no more than its bound of bytes, but at least one event; the walk still gives each once."""
    monkeypatch.setattr("daglens.resolvers.events.MAX_EVENTS_BYTES", 1000)
    sizes = [400, 400, 400, 5000, 5000, 10, 10]
    api.add("r", *(EventDraft(et.LOG_MESSAGE, message="x" * size) for size in sizes))
    found = await page(api)
    assert ([n["seq"] for n in found["nodes"]], found["throughSeq"], found["hasMore"]) == ([1, 2], 2, True)
    assert await walk(api) == list(range(1, 8))
    assert await walk(api, order="NEWEST_FIRST") == list(range(7, 0, -1))


async def test_events_of_a_run_that_is_being_deleted(logged: Api) -> None:
    """What is left of its log has holes, so none of it is shown."""
    logged.instance.events.close_runs(["r"])
    data = await logged.get(
        """{ runOrError(runId: "r") { ... on Run {
             stats { events } events { nodes { seq } hasMore throughSeq } } } }"""
    )
    assert data["runOrError"] == {
        "stats": {"events": 0},
        "events": {"nodes": [], "hasMore": False, "throughSeq": 0},
    }


async def test_limits(logged: Api) -> None:
    """0 gives no events and a cursor that walks on, above the cap gives the cap, below 0 is BAD_LIMIT."""
    for order, expected in (("OLDEST_FIRST", list(range(1, 21))), ("NEWEST_FIRST", list(range(20, 0, -1)))):
        none = await page(logged, limit=0, order=order)
        assert (none["nodes"], none["hasMore"]) == ([], True)
        assert await walk(logged, after=none["cursor"], order=order) == expected
    await page(logged, limit=2**31 - 1)
    assert logged.events.asked[-1][1][0][0].limit == 1000
    answer = await logged.ask(PAGE, {"limit": -5})
    assert (answer.data, answer.codes) == ({"runEventsOrError": None}, ["BAD_LIMIT"])


async def test_a_cursor_of_another_log_is_refused(logged: Api) -> None:
    """A cursor of another run's log, beyond the head, or of no log at all is an InvalidCursorError, never a skip."""
    logged.add("other", EventDraft(et.RUN_START))
    mine = (await page(logged))["cursor"]
    logged.add("nothing")
    beyond = mine[:-2] + "21"
    for variables in (
        {"after": mine, "id": "other"},
        {"after": mine, "id": "nothing"},
        {"after": beyond},
        {"after": "nonsense"},
        {"after": ""},
    ):
        found = await page(logged, **variables)
        assert (found["__typename"], found["code"]) == ("InvalidCursorError", "INVALID_CURSOR")


async def test_a_run_that_is_not_there(logged: Api) -> None:
    """Events of an unknown run, or of one being deleted, are a RunNotFoundError."""
    assert (await page(logged, id="nobody"))["code"] == "RUN_NOT_FOUND"
    assert (await page(logged, id="\u0000"))["code"] == "RUN_NOT_FOUND"
    logged.instance.events.close_runs(["r"])
    assert (await page(logged))["code"] == "RUN_NOT_FOUND"


async def test_a_page_costs_one_read(logged: Api) -> None:
    """A page of events of a run that has a log asks the event log once, and nothing else."""
    logged.forget()
    await page(logged)
    assert logged.asked == {"events": ["read"]}


@pytest.mark.parametrize("runs", [1, 30])
async def test_one_call_for_all_runs(api: Api, runs: int) -> None:
    """Events of all runs of a page are read in one call per alias of the field, at most."""
    for number in range(runs):
        api.add(f"r{number}", EventDraft(et.RUN_START), EventDraft(et.RUN_SUCCESS))
    api.forget()
    data = await api.get(
        """{ runsOrError(limit: 100) { ... on RunPage { nodes {
             events(limit: 1) { nodes { seq } hasMore }
             last: events(limit: 1, order: NEWEST_FIRST) { nodes { seq } cursor }
        } } } }"""
    )
    assert {node["last"]["nodes"][0]["seq"] for node in data["runsOrError"]["nodes"]} == {2}
    assert api.asked == {"runs": ["page"], "events": ["read"]}


# ---------------------------------------------------------------- waiting


async def test_a_long_poll_is_answered_by_the_first_event(live_api: Api) -> None:
    """Nothing new: the answer comes with the first event that is stored meanwhile."""
    live_api.add("r", EventDraft(et.RUN_START))
    here = (await page(live_api))["cursor"]
    waiting = asyncio.create_task(page(live_api, after=here, wait=25))
    await until(lambda: live_api.viewers == 1)
    live_api.instance.append("r", [EventDraft(et.RUN_SUCCESS)])
    found = await asyncio.wait_for(waiting, 20)
    assert [node["seq"] for node in found["nodes"]] == [2]
    assert live_api.viewers == 0


async def test_a_long_poll_waits_on_over_what_its_filter_leaves_out(live_api: Api) -> None:
    """Events that don't pass the filter are no answer; the cursor of the answer stands behind them."""
    live_api.add("r", EventDraft(et.RUN_START))
    here = (await page(live_api))["cursor"]
    waiting = asyncio.create_task(page(live_api, after=here, wait=25, filter={"stepKeys": ["a"]}))
    await until(lambda: live_api.viewers == 1)
    live_api.instance.append("r", [EventDraft(et.LOG_MESSAGE)])
    live_api.instance.append("r", [EventDraft(et.STEP_START, "a", data={"attempt": 1})])
    found = await asyncio.wait_for(waiting, 20)
    assert ([node["seq"] for node in found["nodes"]], found["throughSeq"]) == ([3], 3)


async def test_a_long_poll_that_brings_nothing(live_api: Api) -> None:
    """When the time is up, the answer is an empty page with the cursor that was given."""
    live_api.add("r", EventDraft(et.RUN_START))
    here = (await page(live_api))["cursor"]
    found = await page(live_api, after=here, wait=0.05)
    assert (found["nodes"], found["cursor"], found["hasMore"]) == ([], here, False)


async def test_a_long_poll_does_not_wait_where_there_is_something(live_api: Api) -> None:
    """Events that are there are answered at once, without asking the hub; as is a limit of 0."""
    live_api.add("r", EventDraft(et.RUN_START))
    live_api.forget()
    assert len((await page(live_api, wait=25))["nodes"]) == 1
    assert (await page(live_api, wait=25, limit=0))["nodes"] == []
    assert live_api.asked == {"events": ["read", "read"]}


async def test_a_run_deleted_while_one_waits(live_api: Api) -> None:
    """The wait ends, and the run is not found."""
    live_api.add("r", EventDraft(et.RUN_START))
    here = (await page(live_api))["cursor"]
    waiting = asyncio.create_task(page(live_api, after=here, wait=25))
    await until(lambda: live_api.viewers == 1)
    live_api.instance.events.close_runs(["r"])
    assert (await asyncio.wait_for(waiting, 20))["code"] == "RUN_NOT_FOUND"


async def test_who_may_wait(live_api: Api) -> None:
    """Waiting goes oldest first only, one field per operation; else BAD_WAIT, and the rest of the answer stands."""
    live_api.add("r", EventDraft(et.RUN_START))
    answer = await live_api.ask(PAGE, {"wait": 1, "order": "NEWEST_FIRST"})
    assert (answer.data, answer.codes) == ({"runEventsOrError": None}, ["BAD_WAIT"])
    field = 'runEventsOrError(runId: "r", waitSeconds: 1) { ... on EventPage { throughSeq } }'
    answer = await live_api.ask(f"{{ a: {field} b: {field} }}")
    assert (answer.data, answer.codes) == ({"a": {"throughSeq": 1}, "b": None}, ["BAD_WAIT"])


async def test_waiting_where_nothing_is_live(api: Api) -> None:
    """Without a hub nobody can wait."""
    api.add("r")
    assert (await api.ask(PAGE, {"wait": 1})).codes == ["NOTHING_LIVE"]
