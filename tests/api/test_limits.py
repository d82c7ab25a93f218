"""How much a document asks for: front ends ask for little, and no document makes finding it out costly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from graphql import DocumentNode, OperationDefinitionNode, get_introspection_query, parse
from graphql.pyutils.suggestion_list import LexicalDistance

from daglens.config.settings import Limits
from daglens.schema.build import build_schema
from daglens.schema.documents import MOST_ERRORS
from daglens.schema.limits.cost import OperationCost
from daglens.schema.limits.extensions import shape_errors
from daglens.schema.limits.shape import MOST_NESTING, shape_of
from tests.server.conftest import OPERATIONS

SCHEMA = build_schema()
FRAGMENTS = (OPERATIONS / "fragments.graphql").read_text()


def operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]


def cost(text: str, variables: Mapping[str, Any] | None = None) -> int:
    """The cost of a document's operation."""
    document = parse(text)
    (operation,) = operations(document)
    return OperationCost(SCHEMA._schema, document, operation).points(variables or {})


def codes(text: str, limits: Limits | None = None) -> list[str]:
    """What is said of a document by itself."""
    found = shape_errors(shape_of(parse(text)), limits or Limits())
    return [str((error.extensions or {})["code"]) for error in found]


@pytest.mark.parametrize("path", sorted(OPERATIONS.glob("*.graphql")), ids=lambda path: path.stem)
def test_what_front_ends_send(path: Any) -> None:
    """The documents of the contract stay far below every limit, with the largest pages."""
    document = parse(path.read_text() + (FRAGMENTS if path.stem != "fragments" else ""), max_tokens=1000)
    limits = Limits(max_depth=10, max_aliases=10, max_root_fields=10)
    assert list(shape_errors(shape_of(document), limits)) == []
    for operation in operations(document):
        assert 0 < OperationCost(SCHEMA._schema, document, operation).points({"limit": 1000}) <= 4000


def test_what_graphiql_sends() -> None:
    """Its introspection is allowed."""
    text = get_introspection_query(descriptions=True, specified_by_url=True, input_value_deprecation=True)
    result = asyncio.run(SCHEMA.execute(text))
    assert result.errors is None
    assert cost(text) == 20_000


def test_fragments_that_multiply() -> None:
    """Forty fragments that spread the next one twice, under two names, are a trillion fields: they are counted, not
    walked."""
    spreads = "".join(
        f"fragment F{n} on ErrorInfo {{ a: cause {{ ...F{n + 1} }} b: cause {{ ...F{n + 1} }} }}" for n in range(40)
    )
    shape = shape_of(parse("{ ...F0 }" + spreads + "fragment F40 on ErrorInfo { message }"))
    assert shape.aliases == 2 * (2**40 - 1)
    assert shape.depth == 41


@pytest.mark.parametrize(
    "text",
    [
        "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F version }",
        "{ ...F } fragment F on Query { ...F }",
        "{ ...Missing }",
        "fragment F on Query { version }",
        "type Query { a: Int }",
    ],
)
def test_documents_that_are_wrong(text: str) -> None:
    """Measuring ends, whatever is wrong with a document; validation says what it is."""
    assert codes(text) == []
    assert asyncio.run(SCHEMA.execute("{ version " + text)).errors


def test_a_long_chain_of_fragments() -> None:
    """Fragments in fragments are bounded as well, whatever the settings are: what executes them goes down by calls."""
    count = MOST_NESTING + 50
    chain = "".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(count))
    text = "{ ...F0 }" + chain + f"fragment F{count} on Query {{ version }}"
    assert codes(text) == ["TOO_DEEP"]
    assert codes(text, Limits(max_depth=0)) == ["TOO_DEEP"]
    result = asyncio.run(build_schema(limits=Limits(max_depth=0)).execute(text))
    assert result.errors is not None
    assert [(error.extensions or {})["code"] for error in result.errors] == ["TOO_DEEP"]


@pytest.mark.parametrize(
    "text",
    [
        "{ runsOrError { ... on RunPage { nodes { " + " ".join(f"pipelinName{n}" for n in range(600)) + " } } } }",
        "{ version } " + " ".join(f"fragment F{n} on RunPagee{n} {{ a }}" for n in range(280)),
        "{ runsOrError(" + " ".join(f"limitt{n}: 1" for n in range(400)) + ") { __typename } }",
        "query(" + " ".join(f"$v{n}: RunStatuss{n}" for n in range(400)) + ") { version }",
    ],
    ids=["fields", "types", "arguments", "types of variables"],
)
def test_hundreds_of_misspelt_names(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of them are told, without looking for what each may have meant: that took the event loop for 0.2 s."""
    looked_for = 0

    def measure(self: LexicalDistance, option: str, threshold: int) -> int | None:
        nonlocal looked_for
        looked_for += 1
        return None

    monkeypatch.setattr(LexicalDistance, "measure", measure)
    errors = asyncio.run(SCHEMA.execute(text)).errors or []
    assert len(errors) == MOST_ERRORS + 1
    assert "Too many validation errors" in errors[-1].message
    assert looked_for == 0


def test_a_misspelt_name() -> None:
    """Whoever misspells a few names is told which ones may have been meant."""
    errors = asyncio.run(SCHEMA.execute("{ versio nw }")).errors or []
    assert [error.message.partition("Did you mean ")[2] for error in errors] == ["'version'?", "'now'?"]


def test_a_field_that_stands_twice_counts_as_an_alias() -> None:
    """Validation compares fields of one name in pairs, so they are bounded before it."""
    assert shape_of(parse("{ version version version a: now now: now }")).aliases == 3


RUNS = (
    "query($n: Int! = 25, $m: Int, $no: Boolean! = false) "
    "{ runsOrError(limit: $n) { ... on RunPage { nodes { %s } } } }"
)


@pytest.mark.parametrize(
    ("selected", "variables", "expected"),
    [
        ("runId", {}, 1 + 25),
        ("runId", {"n": 100}, 1 + 100),
        ("runId", {"n": 10**9}, 1 + 1000),
        ("runId", {"n": 0}, 1),
        ("runId", {"n": -5}, 1),
        ("runId", {"n": "many"}, 1 + 1000),
        ("tags { key }", {"n": 10}, 1 + 10 * 2),
        ("stepStats(limit: 3) { stepKey }", {"n": 10}, 1 + 10 * (1 + 1 + 3)),
        ("stepStats(limit: $m) { stepKey }", {"n": 10}, 1 + 10 * (1 + 1 + 1000)),
        ("stepStats(limit: $m) { stepKey }", {"n": 10, "m": 7}, 1 + 10 * (1 + 1 + 7)),
        ("events(limit: 10) { nodes { seq } }", {"n": 10}, 1 + 10 * (1 + 1 + 10)),
        ("events(limit: 10) { nodes { seq } } @skip(if: $no)", {"n": 10, "no": True}, 1 + 10),
        ("events(limit: 10) { nodes { seq } } @include(if: $no)", {"n": 10}, 1 + 10),
        ("...F", {"n": 10}, 1 + 10 * (1 + 1)),
        ("artifacts(limit: 2) { nodes { path } }", {"n": 10}, 1 + 10 * (1 + 50 + 2)),
        ("computeLogs { stepKey }", {"n": 10}, 1 + 10 * (1 + 50 + 5)),
    ],
)
def test_costs(selected: str, variables: dict[str, Any], expected: int) -> None:
    """Rows are multiplied by the rows around them; limits come from literals, variables and defaults."""
    if "@" in selected:
        inner, directive = selected.rsplit(" @", 1)
        selected = f"... @{directive} {{ {inner} }}"
    text = RUNS % selected + ("fragment F on Run { stats { events } }" if "...F" in selected else "")
    assert cost(text, variables) == expected


def test_cost_through_fragments_of_the_page() -> None:
    """It makes no difference whether the page's nodes stand in a fragment."""
    plain = "{ runsOrError(limit: 40) { ... on RunPage { nodes { tags { key } stats { events } } } } }"
    spread = (
        "{ runsOrError(limit: 40) { ...P } } fragment P on RunPage { nodes { ...R } } "
        "fragment R on Run { tags { key } stats { events } }"
    )
    assert cost(plain) == cost(spread) == 1 + 40 * 3


def test_a_listing_of_each_run() -> None:
    """Files are listed run by run, so a thousand runs with logs are as dear as the documentation says."""
    assert cost("{ runsOrError(limit: 1000) { ... on RunPage { nodes { artifacts { nodes { path } } } } } }") == 151_001
