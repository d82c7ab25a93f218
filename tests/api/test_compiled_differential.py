"""Lists completed by a plan answer as graphql-core's own executor does: data, errors and order of keys."""

from __future__ import annotations

import asyncio

import pytest
from graphql import parse, validate
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from daglens.schema.compiled import CompiledExecutionContext, counters
from daglens.schema.compiled.plan_cache import PlanCache
from tests.api import compiled_faults, compiled_lists
from tests.api.compiled_lists import Lists, answers, lists, schema_of
from tests.api.random_operations import RandomOperation, operations

COMPILED, PLAIN = schema_of(compiled=True), schema_of(compiled=False)
ARGUMENTS = {"Run.stepStats": "(limit: 5)", "Run.events": "(limit: 3)"}
ROOTS = ("events", "maybeEvents", "page", "runs", "sureRuns", "steps", "runPage", "run", "runOrError")
CASES = st.one_of(
    operations(PLAIN._schema, "query", ROOTS, ARGUMENTS), operations(PLAIN._schema, "subscription", ("batches",), {})
)
SETTINGS = settings(
    max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.fixture(autouse=True)
def fresh_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan made under a fault serves another test."""
    monkeypatch.setattr(CompiledExecutionContext, "plans", PlanCache())


def assert_same(operation: RandomOperation, context: Lists) -> None:
    """Both ways of execution answer alike."""

    async def both() -> None:
        compiled, plain = await answers(COMPILED, operation, context), await answers(PLAIN, operation, context)
        # What graphql-core has begun and then not needed, since an error took its place, ends in the background.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        assert compiled == plain

    asyncio.run(both())


@SETTINGS
@given(CASES, lists())
def test_answers_are_the_same(operation: RandomOperation, context: Lists) -> None:
    """Whatever is selected, of whatever is stored, and however warm the caches are."""
    assert_same(operation, context)


def _cases(focus: compiled_faults.Focus) -> st.SearchStrategy[RandomOperation]:
    if focus.document:
        values = ({"b0": True}, {"b0": False}) if "$b0" in focus.document else ({},)
        return st.just(RandomOperation(focus.document, values))
    return operations(PLAIN._schema, "query", focus.roots, ARGUMENTS) if focus.roots else CASES


@pytest.mark.parametrize(
    ("fault", "focus"), [pytest.param(*case, id=case[0].__name__) for case in compiled_faults.FAULTS]
)
def test_fault_is_caught(
    fault: compiled_faults.Fault, focus: compiled_faults.Focus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan with this mistake answers something else, and the comparison tells. A focus makes it tell sooner."""
    fault(monkeypatch)
    if focus.spoilt:
        monkeypatch.setattr(compiled_lists, "SPOILT", list(focus.spoilt))

    @settings(SETTINGS, max_examples=2000, derandomize=True, phases=[Phase.generate], print_blob=False)
    @given(_cases(focus), lists())
    def compare(operation: RandomOperation, context: Lists) -> None:
        assert_same(operation, context)

    with pytest.raises(AssertionError):
        compare()


def test_comparison_reaches_every_way() -> None:
    """Plans, plans with a rest, surprises and lists without a plan: the cases have them all, most of them are valid."""
    before = counters()
    valid: list[bool] = []

    @settings(SETTINGS, max_examples=100, derandomize=True, phases=[Phase.generate])
    @given(CASES, lists())
    def compare(operation: RandomOperation, context: Lists) -> None:
        valid.append(not validate(PLAIN._schema, parse(operation.document)))
        assert_same(operation, context)

    compare()
    after = counters()
    assert sum(valid) > 0.8 * len(valid)
    for way in ("fast", "mixed", "fallen_back", "plans"):
        assert getattr(after, way) > getattr(before, way) + 5, way
