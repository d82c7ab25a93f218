"""Runs over the API: lists, filters, single ones, counts, and what is told of each."""

from __future__ import annotations

from typing import Any

import pytest

from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, RunStatus
from tests.api.conftest import Api, Clock

LIST = """
query List($filter: RunsFilter, $order: RunsOrder! = NEWEST_FIRST, $after: Cursor, $limit: Int! = 25) {
  runsOrError(filter: $filter, order: $order, after: $after, limit: $limit) {
    __typename
    ... on RunPage { nodes { runId } cursor hasMore }
    ... on Error { code message }
  }
  runCountOrError(filter: $filter) { ... on RunCount { count capped } ... on Error { code message } }
}
"""


async def ids(api: Api, **variables: Any) -> list[str]:
    data = await api.get(LIST, **variables)
    return [run["runId"] for run in data["runsOrError"]["nodes"]]


async def walk(api: Api, **variables: Any) -> list[str]:
    """Run ids of all pages."""
    found: list[str] = []
    while True:
        page = (await api.get(LIST, **variables))["runsOrError"]
        found += [run["runId"] for run in page["nodes"]]
        variables["after"] = page["cursor"]
        if not page["hasMore"]:
            return found


@pytest.fixture
def history(api: Api, clock: Clock) -> Api:
    """Ten runs, a second apart: r0 is the oldest."""
    for number in range(10):
        clock.pass_s(1)
        api.add(
            f"r{number}",
            pipeline_name="even" if number % 2 == 0 else "odd",
            status=RunStatus.QUEUED if number < 3 else RunStatus.NOT_STARTED,
            tags=(("n", str(number)), ("third", str(number % 3))),
            parent_run_id="r0" if number in (1, 2) else None,
            root_run_id="r0" if number in (1, 2, 3) else None,
        )
    return api


async def test_newest_first_unless_told_otherwise(history: Api) -> None:
    """The list begins with the newest run, or with the oldest."""
    assert await ids(history) == [f"r{n}" for n in range(9, -1, -1)]
    assert await ids(history, order="OLDEST_FIRST") == [f"r{n}" for n in range(10)]


@pytest.mark.parametrize("order", ["NEWEST_FIRST", "OLDEST_FIRST"])
@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_a_walk_of_pages_gives_each_run_once(history: Api, order: str, limit: int) -> None:
    """Pages of any size add up to the list."""
    assert sorted(await walk(history, order=order, limit=limit)) == [f"r{n}" for n in range(10)]


async def test_a_walk_stands_while_runs_come(history: Api, clock: Clock) -> None:
    """Runs added during a walk disturb no page of it; oldest first, the last cursor goes on to them."""
    first = (await history.get(LIST, limit=4, order="OLDEST_FIRST"))["runsOrError"]
    clock.pass_s(1)
    history.add("late")
    rest = await walk(history, after=first["cursor"], limit=4, order="OLDEST_FIRST")
    assert [run["runId"] for run in first["nodes"]] + rest == [*(f"r{n}" for n in range(10)), "late"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, "9876543210"),
        ({}, "9876543210"),
        ({"runIds": None, "tags": None, "createdAfter": None}, "9876543210"),
        ({"runIds": ["r1", "r3", "nobody", "r1"]}, "31"),
        ({"runIds": []}, ""),
        ({"runIds": ["a\u0000b", "", "r4"]}, "4"),
        ({"pipelineNames": ["even"]}, "86420"),
        ({"pipelineNames": []}, ""),
        ({"statuses": ["QUEUED", "SUCCESS"]}, "210"),
        ({"statuses": []}, ""),
        ({"tags": [{"key": "third", "value": "1"}]}, "741"),
        ({"tags": [{"key": "third"}]}, "9876543210"),
        ({"tags": [{"key": "third", "value": None}, {"key": "n", "value": "5"}]}, "5"),
        ({"tags": [{"key": "third", "value": "1"}, {"key": "third", "value": "2"}]}, ""),
        ({"tags": [{"key": "third", "value": "1"}, {"key": "third", "value": "1"}]}, "741"),
        ({"tags": [{"key": "nothing"}]}, ""),
        ({"tags": []}, ""),
        ({"tags": [{"key": ""}]}, ""),
        ({"parentRunId": "r0"}, "21"),
        ({"rootRunId": "r0"}, "3210"),
        ({"rootRunId": "\u0000"}, ""),
        ({"createdAfter": "2023-11-14T22:13:25Z"}, "987654"),
        ({"createdAfter": "2023-11-14T23:13:25+01:00", "createdBefore": "2023-11-14T22:13:27Z"}, "54"),
        ({"createdAfter": "2023-11-14T22:13:27Z", "createdBefore": "2023-11-14T22:13:25Z"}, ""),
        ({"updatedBefore": "2023-11-14T22:13:22Z"}, "0"),
        ({"updatedAfter": "2023-11-14T22:13:30Z"}, "9"),
        ({"pipelineNames": ["odd"], "statuses": ["QUEUED"]}, "1"),
    ],
)
async def test_filters(history: Api, filter: dict[str, Any] | None, expected: str) -> None:
    """All parts hold, lists mean any of, empty lists match nothing, null is no condition; the count agrees."""
    data = await history.get(LIST, filter=filter)
    assert [run["runId"] for run in data["runsOrError"]["nodes"]] == [f"r{n}" for n in expected]
    assert data["runCountOrError"] == {"count": len(expected), "capped": False}


@pytest.mark.parametrize(
    "filter",
    [
        {"runIds": ["x"] * 1001},
        {"pipelineNames": ["x"] * 1001},
        {"statuses": ["QUEUED"] * 1001},
        {"tags": [{"key": "k"}] * 201},
    ],
)
async def test_a_filter_beyond_measure_is_refused(history: Api, filter: dict[str, Any]) -> None:
    """Lists of more than 1,000 values, or 200 tags, are an InvalidFilterError that names the part."""
    data = await history.get(LIST, filter=filter)
    assert data["runsOrError"]["__typename"] == "InvalidFilterError"
    for field in ("runsOrError", "runCountOrError"):
        assert data[field]["code"] == "INVALID_FILTER"
        assert f"`{next(iter(filter))}`" in data[field]["message"]


async def test_limits(history: Api) -> None:
    """0 gives no nodes and a cursor that begins the walk, above the cap gives the cap, below 0 is BAD_LIMIT."""
    none = (await history.get(LIST, limit=0))["runsOrError"]
    assert (none["nodes"], none["hasMore"]) == ([], True)
    assert len(await walk(history, after=none["cursor"], limit=7)) == 10
    assert len(await ids(history, limit=2**31 - 1)) == 10
    assert [asked[2]["limit"] for asked in history.runs.asked if asked[0] == "page"][-1] == 1000
    answer = await history.ask(LIST, {"limit": -1})
    assert (answer.data["runsOrError"], answer.codes) == (None, ["BAD_LIMIT"])
    assert answer.data["runCountOrError"] == {"count": 10, "capped": False}


@pytest.mark.parametrize(
    ("up_to", "expected"), [(0, (0, True)), (4, (4, True)), (10, (10, False)), (2**31 - 1, (10, False))]
)
async def test_counting_stops(history: Api, up_to: int, expected: tuple[int, bool]) -> None:
    """A count goes no further than `upTo`, and says whether there may be more."""
    document = "query Q($n: Int!) { runCountOrError(upTo: $n) { ... on RunCount { count capped } } }"
    count = (await history.get(document, n=up_to))["runCountOrError"]
    assert (count["count"], count["capped"]) == expected


async def test_counting_to_less_than_nothing(history: Api) -> None:
    """A negative `upTo` is BAD_LIMIT."""
    answer = await history.ask("{ runCountOrError(upTo: -1) { __typename } }")
    assert (answer.data, answer.codes) == ({"runCountOrError": None}, ["BAD_LIMIT"])


async def test_a_cursor_belongs_to_order_and_filter(history: Api) -> None:
    """A run list's cursor with another order or filter, or none at all, is an InvalidCursorError."""
    cursor = (await history.get(LIST, limit=2))["runsOrError"]["cursor"]
    for variables in (
        {"after": cursor, "order": "OLDEST_FIRST"},
        {"after": cursor, "filter": {"statuses": ["QUEUED"]}},
        {"after": cursor + "A"},
        {"after": ""},
        {"after": "e1..0"},
    ):
        found = (await history.get(LIST, **variables))["runsOrError"]
        assert (found["__typename"], found["code"]) == ("InvalidCursorError", "INVALID_CURSOR")
    assert (await history.get(LIST, after=cursor, filter={"runIds": None}))["runsOrError"]["__typename"] == "RunPage"


async def test_a_run_that_is_not_there(api: Api) -> None:
    """An unknown id, and one that can't be an id, is a RunNotFoundError that names it."""
    document = "query Q($id: ID!) { runOrError(runId: $id) { ... on RunNotFoundError { code message runId } } }"
    for run_id in ("nobody", "", "a\u0000b", "x" * 5000, "../../etc/passwd", "\ud800"):
        error = (await api.get(document, id=run_id))["runOrError"]
        assert (error["code"], error["runId"]) == ("RUN_NOT_FOUND", run_id)
    assert api.asked == {"runs": ["get", "get"]}


RUN = """
query Run($id: ID!) { runOrError(runId: $id) { ... on Run {
  runId pipelineName status tags { key value } runConfig runConfigYaml stepKeysToExecute parentRunId rootRunId
  createdAt updatedAt startedAt endedAt durationSeconds lastHeardAt canTerminate createdBy
  stats {
    stepsInProgress stepsSucceeded stepsFailed stepsSkipped materializations expectations expectationsFailed events
  }
} } }
"""


def draft(event_type: str, at_s: float = 0.0, step_key: str | None = None, **data: Any) -> EventDraft:
    """An event `at_s` seconds after the clock's beginning."""
    return EventDraft(event_type, step_key, timestamp_us=1_700_000_000_000_000 + int(at_s * 1_000_000), data=data)


async def test_everything_of_a_run(api: Api, clock: Clock) -> None:
    """Each field of a finished run says what was stored."""
    api.add(
        "r",
        draft(et.RUN_START, 1, pipelineName="nightly"),
        draft(et.STEP_START, 2, "a", attempt=1),
        draft(et.STEP_MATERIALIZATION, 2, "a", label="l"),
        draft(et.STEP_EXPECTATION_RESULT, 2, "a", label="e", success=True),
        draft(et.STEP_EXPECTATION_RESULT, 2, "a", label="f", success=False),
        draft(et.STEP_SUCCESS, 3, "a"),
        draft(et.STEP_START, 3, "b", attempt=1),
        draft(et.STEP_FAILURE, 4, "b"),
        draft(et.STEP_SKIPPED, 4, "c"),
        draft(et.RUN_FAILURE, 5.5),
        tags=(("team", "core"), ("env", "dev")),
        run_config={"rows": 3, "name": "ünï"},
        step_keys_to_execute=("a", "b"),
        parent_run_id="p",
        root_run_id="q",
        created_by="ci",
    )
    assert (await api.get(RUN, id="r"))["runOrError"] == {
        "runId": "r",
        "pipelineName": "nightly",
        "status": "FAILURE",
        "tags": [{"key": "env", "value": "dev"}, {"key": "team", "value": "core"}],
        "runConfig": {"rows": 3, "name": "ünï"},
        "runConfigYaml": "rows: 3\nname: ünï\n",
        "stepKeysToExecute": ["a", "b"],
        "parentRunId": "p",
        "rootRunId": "q",
        "createdAt": "2023-11-14T22:13:20.000000Z",
        "updatedAt": "2023-11-14T22:13:20.000000Z",
        "startedAt": "2023-11-14T22:13:21.000000Z",
        "endedAt": "2023-11-14T22:13:25.500000Z",
        "durationSeconds": 4.5,
        "lastHeardAt": "2023-11-14T22:13:20.000000Z",
        "canTerminate": False,
        "createdBy": "ci",
        "stats": {
            "stepsInProgress": 0,
            "stepsSucceeded": 1,
            "stepsFailed": 1,
            "stepsSkipped": 1,
            "materializations": 1,
            "expectations": 2,
            "expectationsFailed": 1,
            "events": 10,
        },
    }


async def test_a_run_without_anything(api: Api) -> None:
    """What is not known is null, what can be counted is 0."""
    api.add("r")
    run = (await api.get(RUN, id="r"))["runOrError"]
    assert {name for name, value in run.items() if value is None} == {
        "stepKeysToExecute",
        "parentRunId",
        "rootRunId",
        "startedAt",
        "endedAt",
        "durationSeconds",
        "lastHeardAt",
        "createdBy",
    }
    assert set(run["stats"].values()) == {0}
    assert (run["tags"], run["runConfig"], run["canTerminate"], run["status"]) == ([], {}, True, "NOT_STARTED")


async def test_a_running_run_lasts_to_now(api: Api, clock: Clock) -> None:
    """While a run goes on, its duration grows with the server's clock, and is never below 0."""
    api.add("r", draft(et.RUN_START, 10))
    for passed_s, duration in ((0, 0.0), (12, 2.0), (13, 15.0)):
        clock.pass_s(passed_s)
        assert (await api.get(RUN, id="r"))["runOrError"]["durationSeconds"] == duration
    api.instance.append("r", [draft(et.RUN_SUCCESS, 5)])
    assert (await api.get(RUN, id="r"))["runOrError"]["durationSeconds"] == 0.0


@pytest.mark.parametrize(
    ("event_types", "expected"),
    [
        ([], True),
        ([et.RUN_ENQUEUED], True),
        ([et.RUN_START], True),
        ([et.RUN_START, et.RUN_CANCELING], False),
        ([et.RUN_START, et.RUN_CANCELED], False),
        ([et.RUN_SUCCESS], False),
    ],
)
async def test_can_terminate(api: Api, event_types: list[str], expected: bool) -> None:
    """A run can be terminated unless it is final or being canceled."""
    api.add("r", *(draft(kind) for kind in event_types))
    assert (await api.get(RUN, id="r"))["runOrError"]["canTerminate"] is expected


async def test_last_sign_of_life(api: Api, clock: Clock) -> None:
    """The later of the last heartbeat and the last append by a recorder; the server's own events don't count."""
    api.add("r", draft(et.RUN_START))
    heard = []
    for sign in (
        lambda: api.instance.heartbeat("r"),
        lambda: api.instance.append("r", [draft(et.ENGINE_EVENT)], heard=False),
        lambda: api.instance.append("r", [draft(et.ENGINE_EVENT)]),
    ):
        clock.pass_s(1)
        sign()
        heard.append((await api.get(RUN, id="r"))["runOrError"]["lastHeardAt"][17:19])
    assert heard == ["21", "21", "23"]


async def test_no_step_goes_on_once_the_run_has_ended(api: Api) -> None:
    """A run that ended has no steps in progress, though none of them said so."""
    api.add("r", draft(et.RUN_START), draft(et.STEP_START, 0, "a", attempt=1))
    assert (await api.get(RUN, id="r"))["runOrError"]["stats"]["stepsInProgress"] == 1
    api.instance.append("r", [draft(et.RUN_FAILURE)])
    assert (await api.get(RUN, id="r"))["runOrError"]["stats"]["stepsInProgress"] == 0


async def test_configuration_that_is_no_object(api: Api) -> None:
    """Any JSON value can be a run's configuration."""
    for number, config in enumerate(([1, "a"], "text", 3, {"a": {"b": [None]}})):
        api.add(f"r{number}", run_config=config)
        assert (await api.get(RUN, id=f"r{number}"))["runOrError"]["runConfig"] == config
    api.add("none", run_config=None)
    assert (await api.get(RUN, id="none"))["runOrError"]["runConfig"] == {}


NAMES = """
query Names($key: String! = "k", $prefix: String! = "", $limit: Int! = 25) {
  runTagKeys(prefix: $prefix, limit: $limit)
  runTagValues(key: $key, prefix: $prefix, limit: $limit)
  pipelineNames(prefix: $prefix, limit: $limit)
}
"""


async def test_search_space(api: Api) -> None:
    """Keys, values and names in use, sorted, by prefix, at most `limit`."""
    for run_id, pipeline, tags in (
        ("a", "abc", [("k", "ab"), ("ax", "1")]),
        ("b", "abd", [("k", "aa")]),
        ("c", "b", []),
    ):
        api.add(run_id, pipeline_name=pipeline, tags=tuple(tags))
    assert await api.get(NAMES) == {
        "runTagKeys": ["ax", "k"],
        "runTagValues": ["aa", "ab"],
        "pipelineNames": ["abc", "abd", "b"],
    }
    assert await api.get(NAMES, prefix="ab") == {
        "runTagKeys": [],
        "runTagValues": ["ab"],
        "pipelineNames": ["abc", "abd"],
    }
    assert await api.get(NAMES, limit=1) == {"runTagKeys": ["ax"], "runTagValues": ["aa"], "pipelineNames": ["abc"]}
    nothing: dict[str, list[str]] = {"runTagKeys": [], "runTagValues": [], "pipelineNames": []}
    assert await api.get(NAMES, limit=0) == nothing
    assert await api.get(NAMES, prefix="\u0000") == nothing
    assert (await api.get(NAMES, key="\u0000"))["runTagValues"] == []
    answer = await api.ask(NAMES, {"limit": -1})
    assert (answer.data, answer.codes) == (dict.fromkeys(nothing), ["BAD_LIMIT"] * 3)


# ---------------------------------------------------------------- only what is selected


async def test_a_plain_list_reads_one_table(history: Api) -> None:
    """A list of ids reads neither tags nor configuration nor heads, and calls the storage once."""
    history.forget()
    await history.get("{ runsOrError { ... on RunPage { nodes { runId status } } } }")
    assert history.asked == {"runs": ["page"]}
    assert history.runs.asked[0][2]["parts"].value == 0


@pytest.mark.parametrize(
    ("selection", "parts", "heads"),
    [
        ("... on RunPage { nodes { tags { key } } }", "TAGS", False),
        ("... on RunPage { nodes { runConfig } }", "CONFIG", False),
        ("... on RunPage { nodes { runConfigYaml } }", "CONFIG", False),
        ("... on RunPage { nodes { ...Row } }", "TAGS", True),
        ("... on RunPage { nodes { ... on Run { lastHeardAt } } }", "NONE", True),
        ("... on RunPage { nodes { a: runId b: stats { events } } }", "NONE", True),
        ("... on RunPage { nodes { runId } } ... on RunPage { nodes { tags { key } } }", "TAGS", False),
        (
            "... on RunPage { nodes { tags @skip(if: true) { key } stats @include(if: $no) { events } runId } }",
            "NONE",
            False,
        ),
        ("... on RunPage { nodes { ...Row @skip(if: $no) } }", "TAGS", True),
        ("... on RunPage { nodes { ...Row @include(if: $no) runId } }", "NONE", False),
    ],
)
async def test_only_what_is_selected_is_read(history: Api, selection: str, parts: str, heads: bool) -> None:
    """Through fragments, aliases and directives, just the parts that are asked for are read."""
    history.forget()
    used = "fragment Row on Run { ...Inner } fragment Inner on Run { tags { key } stats { events } }"
    document = (
        f"query Q($no: Boolean! = false) {{ runsOrError {{ {selection} }} }} {used if '...Row' in selection else ''}"
    )
    if "$no" not in selection:
        document = document.replace("($no: Boolean! = false)", "")
    await history.get(document)
    assert history.asked == {"runs": ["page"]} | ({"events": ["heads"]} if heads else {})
    assert history.runs.asked[0][2]["parts"].name == parts


async def test_an_instance_can_lower_the_cap(history: Api) -> None:
    """`daglens: limits: max_page` caps every list."""
    object.__setattr__(history.instance.settings.limits, "max_page", 3)
    assert len(await ids(history, limit=9)) == 3
