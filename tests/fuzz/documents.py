"""Documents by schemathesis: every root field of the served schema, aimed at what the server really has."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from graphql import FieldNode, Node, ObjectFieldNode, StringValueNode, Visitor, parse, print_ast, visit
from graphql.language import ArgumentNode
from hypothesis import strategies as st

from daglens.storage import event_types as et
from tests.api.history import RUN_ID

with warnings.catch_warnings():
    # Its dependencies are its own affair.
    warnings.simplefilter("ignore")
    import schemathesis.graphql
    from schemathesis.core.result import Ok
    from schemathesis.graphql import nodes

TEXTS = [
    "",
    "a",
    "\n",
    "\x1b[31mred\x1b[0m",
    "ünï ☃ 🜁",
    "..",
    "a/b",
    "%_",
    "'; DROP TABLE runs; --",
    "x" * 300,
    "\u202e",
    "\x00",
]
TIMES = ["2026-11-22T09:30:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+00:00", "2016-12-31T23:59:60Z"]
NUMBERS = [0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63)]

times = st.sampled_from(TIMES) | st.datetimes().map(lambda at: at.isoformat() + "Z") | st.text(max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.just(nodes.Null),
        st.booleans().map(nodes.Boolean),
        st.integers(-(2**70), 2**70).map(nodes.Int),
        st.text(max_size=8).map(nodes.String),
    ),
    lambda inner: st.lists(inner, max_size=3).map(nodes.List),
    max_leaves=5,
)
big_ints = st.sampled_from(NUMBERS) | st.integers(-(2**65), 2**65)
cursors = st.text(max_size=30)

schemathesis.graphql.scalar("DateTime", times.map(nodes.String))
schemathesis.graphql.scalar("JSON", json_values)
schemathesis.graphql.scalar("Cursor", cursors.map(nodes.String))
schemathesis.graphql.scalar("BigInt", big_ints.map(nodes.Int) | big_ints.map(lambda number: nodes.String(str(number))))


def operations(schema: Any) -> dict[str, st.SearchStrategy[str]]:
    """Documents for each root field of an introspected schema, by its name as `Query.runsOrError`."""
    loaded = schemathesis.graphql.from_dict(schema)
    found = {}
    for result in loaded.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        found[operation.label] = operation.as_strategy().map(lambda case: str(case.body))
    return found


KNOWN: dict[str, Sequence[str]] = {
    "runId": [RUN_ID],
    "runIds": [RUN_ID],
    "parentRunId": [RUN_ID],
    "stepKey": ["extract", "load", "transform", "(process)"],
    "stepKeys": ["extract", "load"],
    "eventType": [*et.__dict__.get("ALL", ()), et.STEP_START, et.STEP_FAILURE, et.RUN_START, "OF_A_NEWER_WRITER"],
    "eventTypes": [et.STEP_START, et.STEP_FAILURE, "OF_A_NEWER_WRITER"],
    "pipelineName": ["census", "nightly"],
    "key": ["team", "env"],
    "value": ["core", "test"],
    "path": ["report.html", "..", "../daglens.db"],
}


def aimed(document: str, draw: Callable[[st.SearchStrategy[Any]], Any], run_id: str, after: Sequence[str]) -> str:
    """The document with many of its texts replaced by such as the server knows, or by nasty ones.

    `run_id` stands for the known run's, `after` are cursors that were given out.
    """

    class Aim(Visitor):
        def enter(self, node: Node, key: Any, parent: Any, path: Any, ancestors: list[Any]) -> Node | None:
            if not isinstance(node, StringValueNode):
                return None
            name = next(
                (
                    above.name.value
                    for above in reversed([*ancestors, parent])
                    if isinstance(above, ArgumentNode | ObjectFieldNode | FieldNode)
                ),
                "",
            )
            known = after if name in ("after", "before", "cursor") else KNOWN.get(name, ())
            choice = draw(st.integers(0, 5))
            if known and choice < 4:
                text = draw(st.sampled_from(known))
                return StringValueNode(value=run_id if text == RUN_ID else text)
            return StringValueNode(value=draw(st.sampled_from(TEXTS))) if choice == 5 else None

    return print_ast(visit(parse(document), Aim()))


def subscriptions(schema: Any) -> dict[str, st.SearchStrategy[str]]:
    """The same for the fields of subscriptions, of which schemathesis knows nothing: it takes them for queries."""
    root = schema["__schema"]
    asked = {**root, "queryType": root["subscriptionType"], "mutationType": None, "subscriptionType": None}
    found = operations({"__schema": asked})
    return {field: documents.map(lambda document: f"subscription {document}") for field, documents in found.items()}
