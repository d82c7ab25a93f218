"""Steps of a run over the API."""

from __future__ import annotations

from typing import Any

import pytest

from daglens.storage import event_types as et
from daglens.storage.records import EventDraft
from tests.api.conftest import Api, Clock
from tests.api.test_runs import draft

STEPS = """
query Steps($id: ID! = "r", $keys: [String!], $limit: Int! = 1000) { runOrError(runId: $id) { ... on Run {
  stepStats(stepKeys: $keys, limit: $limit) {
    stepKey status attempts attemptSpans { attempt status startedAt endedAt } startedAt endedAt durationSeconds
    materializations expectations
  }
} } }
"""


async def steps(api: Api, **variables: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get(STEPS, **variables))["runOrError"]["stepStats"]
    return found


def second(time: str | None) -> float | None:
    """Seconds since the clock's beginning (…:20)."""
    return None if time is None else float(time[17:-1]) - 20


async def test_a_step_of_several_attempts(api: Api) -> None:
    """Attempts are bars of a timeline: the step begins with the first and ends with the last."""
    api.add(
        "r",
        draft(et.RUN_START),
        draft(et.STEP_START, 1, "a", attempt=1),
        draft(et.STEP_UP_FOR_RETRY, 2, "a"),
        draft(et.STEP_RESTARTED, 4, "a", attempt=2),
        draft(et.STEP_MATERIALIZATION, 5, "a", label="l"),
        draft(et.STEP_EXPECTATION_RESULT, 5, "a", label="l", success=True),
        draft(et.STEP_SUCCESS, 6.5, "a"),
    )
    (step,) = await steps(api)
    assert (step["stepKey"], step["status"], step["attempts"]) == ("a", "SUCCESS", 2)
    assert (second(step["startedAt"]), second(step["endedAt"]), step["durationSeconds"]) == (1, 6.5, 5.5)
    assert (step["materializations"], step["expectations"]) == (1, 1)
    assert [
        (span["attempt"], span["status"], second(span["startedAt"]), second(span["endedAt"]))
        for span in step["attemptSpans"]
    ] == [(1, "UP_FOR_RETRY", 1, 2), (2, "SUCCESS", 4, 6.5)]


async def test_a_step_in_progress_lasts_to_now(api: Api, clock: Clock) -> None:
    """While a step goes on, or waits for its next attempt, its duration grows with the server's clock."""
    api.add("r", draft(et.STEP_START, 1, "a", attempt=1), draft(et.STEP_START, 2, "b", attempt=1))
    api.instance.append("r", [draft(et.STEP_UP_FOR_RETRY, 3, "b")])
    clock.pass_s(10)
    found = await steps(api)
    assert [(s["status"], s["endedAt"], s["durationSeconds"]) for s in found] == [
        ("IN_PROGRESS", None, 9.0),
        ("UP_FOR_RETRY", None, 8.0),
    ]


async def test_steps_are_abandoned_when_the_run_ends(api: Api, clock: Clock) -> None:
    """A step that goes on after the run's end is ABANDONED, and ended with the run; attempts that ended stay."""
    api.add(
        "r",
        draft(et.RUN_START),
        draft(et.STEP_START, 1, "going", attempt=1),
        draft(et.STEP_START, 1, "waiting", attempt=1),
        draft(et.STEP_UP_FOR_RETRY, 2, "waiting"),
        draft(et.STEP_START, 1, "done", attempt=1),
        draft(et.STEP_SUCCESS, 2, "done"),
        draft(et.RUN_FAILURE, 7, presumed=True),
    )
    clock.pass_s(100)
    found = {step["stepKey"]: step for step in await steps(api)}
    assert {key: (s["status"], second(s["endedAt"]), s["durationSeconds"]) for key, s in found.items()} == {
        "going": ("ABANDONED", 7, 6.0),
        "waiting": ("ABANDONED", 7, 6.0),
        "done": ("SUCCESS", 2, 1.0),
    }
    spans = {key: [(x["status"], second(x["endedAt"])) for x in s["attemptSpans"]] for key, s in found.items()}
    assert spans == {"going": [("ABANDONED", 7)], "waiting": [("UP_FOR_RETRY", 2)], "done": [("SUCCESS", 2)]}


async def test_a_step_nobody_started(api: Api) -> None:
    """A step known from a later event only has no start and no duration."""
    api.add("r", draft(et.STEP_SKIPPED, 1, "a"))
    (step,) = await steps(api)
    assert (step["status"], step["startedAt"], step["durationSeconds"], step["attempts"]) == ("SKIPPED", None, None, 1)


async def test_order_keys_and_limit(api: Api) -> None:
    """Steps come in order of first appearance; some by their keys, or the first few."""
    api.add("r", *(EventDraft(et.STEP_START, key, data={"attempt": 1}) for key in "cab"))
    assert [s["stepKey"] for s in await steps(api)] == ["c", "a", "b"]
    assert [s["stepKey"] for s in await steps(api, keys=["b", "c", "nobody", "\u0000", "b"])] == ["c", "b"]
    assert await steps(api, keys=[]) == []
    assert [s["stepKey"] for s in await steps(api, limit=2)] == ["c", "a"]
    assert await steps(api, limit=0) == []
    assert len(await steps(api, limit=5000)) == 3
    answer = await api.ask(STEPS, {"keys": ["x"] * 1001})
    assert (answer.data["runOrError"], answer.codes) == ({"stepStats": None}, ["INVALID_FILTER"])
    answer = await api.ask(STEPS, {"limit": -1})
    assert (answer.data["runOrError"], answer.codes) == ({"stepStats": None}, ["BAD_LIMIT"])


@pytest.mark.parametrize("runs", [1, 30])
async def test_one_call_for_all_runs(api: Api, runs: int) -> None:
    """However many runs are listed, each alias of the field costs one call."""
    for number in range(runs):
        api.add(f"r{number}", draft(et.STEP_START, 0, "a", attempt=1))
    api.forget()
    data = await api.get(
        """{ runsOrError(limit: 50) { ... on RunPage { nodes {
             stepStats { stepKey } again: stepStats { status } first: stepStats(limit: 1) { stepKey }
        } } } }"""
    )
    assert len(data["runsOrError"]["nodes"]) == runs
    assert data["runsOrError"]["nodes"][0] == {
        "stepStats": [{"stepKey": "a"}],
        "again": [{"status": "IN_PROGRESS"}],
        "first": [{"stepKey": "a"}],
    }
    assert api.asked == {"runs": ["page"], "events": ["steps", "steps"]}
