"""Queries that come again."""

from __future__ import annotations

from typing import Any

import pytest
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.context import RequestContext
from daglens.schema.build import DaglensSchema, build_schema
from daglens.schema.documents import CACHED_DOCUMENTS, MOST_CACHED_CHARS
from daglens.storage.records import NewRun

ONE = "query One($id: ID!) { runOrError(runId: $id) { ... on Run { runId } ... on RunNotFoundError { code } } }"
TWO = 'query A { version } query B { now } mutation C { addRunTags(runId: "a", tags: []) { __typename } }'


@pytest.fixture
def ephemeral() -> Any:
    with Instance.ephemeral() as instance:
        instance.create_run(NewRun("run", "nightly"))
        yield instance


@pytest.fixture
def context(ephemeral: Instance) -> RequestContext:
    return RequestContext(StorageCalls(ephemeral))


async def twice(schema: DaglensSchema, context: RequestContext, query: str, **given: Any) -> list[Any]:
    """What it answers at first, and once it is known."""
    found = []
    for _ in range(2):
        result = await schema.execute(query, context_value=context, **given)
        errors = [(error.message, error.path, (error.extensions or {}).get("code")) for error in result.errors or ()]
        found.append((result.data, errors, result.extensions or {}))
    return found


async def test_the_same_again(context: RequestContext) -> None:
    """Data, errors of fields, errors in variables, in names and in what is allowed are the same at the second time."""
    schema = build_schema()
    for query, given in (
        (ONE, {"variable_values": {"id": "run"}}),
        (ONE, {"variable_values": {"id": "nonesuch"}}),
        (ONE, {"variable_values": {"id": None}}),
        (ONE, {"variable_values": {"id": [1]}}),
        (ONE, {}),
        (ONE, {"variable_values": {"id": "run"}, "operation_extensions": {"cost": True}}),
        ("{ runsOrError(limit: -1) { __typename } runTagKeys(limit: -1) }", {}),
        ("{ nonesuch }", {}),
        ("{", {}),
        (TWO, {"operation_name": "A"}),
        (TWO, {}),
    ):
        first, again = await twice(schema, context, query, **given)
        assert first == again, (query, given)
    answer = await schema.execute(TWO, context_value=context, operation_name="A")
    assert answer.data is not None and set(answer.data) == {"version"}
    answer = await schema.execute(TWO, context_value=context, operation_name="B")
    assert answer.data is not None and set(answer.data) == {"now"}
    assert len(schema.known_operations) == 4


async def test_limits_hold_again(context: RequestContext) -> None:
    """The cost is that of the variables it comes with."""
    schema = build_schema(limits=Limits(max_cost=100))
    query = "query ($limit: Int!) { runsOrError(limit: $limit) { __typename } }"
    for limit, refused in ((5, False), (500, True), (6, False), (500, True)):
        result = await schema.execute(query, {"limit": limit}, context_value=context)
        assert [(error.extensions or {})["code"] for error in result.errors or ()] == ["TOO_COSTLY"] * refused
    assert len(schema.known_operations) == 1


async def test_what_is_not_known(context: RequestContext) -> None:
    """Mutations, documents too long to be kept and those that are wrong; the latest queries replace the oldest."""
    schema = build_schema()
    mutation = 'mutation { heartbeat(runId: "run") { __typename } }'
    for query in (mutation, "{ nonesuch }", "{ version } #" + "x" * MOST_CACHED_CHARS):
        await schema.execute(query, context_value=context)
    assert len(schema.known_operations) == 0
    for number in range(CACHED_DOCUMENTS + 3):
        await schema.execute(f"{{ a{number}: version }}", context_value=context)
    assert len(schema.known_operations) == CACHED_DOCUMENTS
    assert schema.known_operations.find("{ a0: version }", None) is None
    assert schema.known_operations.find("{ a9: version }", None) is not None


async def test_who_may_not_ask_queries(context: RequestContext) -> None:
    """A known query isn't executed where queries are not allowed."""
    schema = build_schema()
    await schema.execute("{ version }", context_value=context)
    with pytest.raises(InvalidOperationTypeError):
        await schema.execute("{ version }", context_value=context, allowed_operation_types=(OperationType.MUTATION,))
