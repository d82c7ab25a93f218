"""What the schema has and this version doesn't do yet says so."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLNonNull, GraphQLObjectType, GraphQLUnionType, get_named_type, is_input_object_type
from graphql.type import GraphQLList

from daglens.schema.build import build_schema
from tests.api.conftest import Api

NOT_IMPLEMENTED: list[str] = []


def some_value(type_: Any) -> Any:
    """A value for an argument."""
    if isinstance(type_, GraphQLNonNull):
        return some_value(type_.of_type)
    if isinstance(type_, GraphQLList):
        return []
    if is_input_object_type(type_):
        return {
            name: some_value(field.type)
            for name, field in type_.fields.items()
            if isinstance(field.type, GraphQLNonNull) and field.ast_node is None and field.default_value in (None, ...)
        }
    values: dict[str, Any] = {"Int": 1, "Boolean": True, "Float": 0, "BigInt": "1", "ComputeIOType": "STDOUT"}
    return values.get(type_.name, "x")


async def answer_code(api: Api, root: str, name: str) -> str | None:
    """The code with which a root field answers when it is given plain values; None when it works."""
    type_ = api.schema._schema.type_map[root]
    assert isinstance(type_, GraphQLObjectType)
    field = type_.fields[name]
    required = {n: a.type for n, a in field.args.items() if isinstance(a.type, GraphQLNonNull)}
    declared = ", ".join(f"${n}: {kind}" for n, kind in required.items())
    given = ", ".join(f"{n}: ${n}" for n in required)
    composite = get_named_type(field.type)
    selection = " { __typename }" if isinstance(composite, GraphQLUnionType | GraphQLObjectType) else ""
    document = (
        f"{'mutation' if root == 'Mutation' else 'subscription' if root == 'Subscription' else 'query'} "
        f"Q{f'({declared})' if declared else ''} {{ {name}{f'({given})' if given else ''}{selection} }}"
    )
    variables = {n: INPUTS.get(n, some_value(kind)) for n, kind in required.items()}
    if root != "Subscription":
        answer = await api.ask(document, variables)
    else:
        answer = await anext(api.listen(document, **variables))
    assert [code for code in answer.codes if code.startswith("GRAPHQL") or code == "BAD_USER_INPUT"] == [], answer
    return answer.codes[0] if answer.errors else None


INPUTS: dict[str, Any] = {"limit": 1, "upTo": 1, "waitSeconds": 0, "order": "NEWEST_FIRST", "timeoutSeconds": 60}


async def test_exactly_these_fields_are_not_there_yet(live_api: Api) -> None:
    """Each of these root fields answers NOT_IMPLEMENTED, and no other does."""
    found = []
    for root in ("Query", "Mutation", "Subscription"):
        type_ = live_api.schema._schema.type_map[root]
        assert isinstance(type_, GraphQLObjectType)
        for name in type_.fields:
            if (root, name) in SPECIAL:
                INPUTS["input"] = SPECIAL[root, name]
            if await answer_code(live_api, root, name) == "NOT_IMPLEMENTED":
                found.append(f"{root}.{name}")
    assert sorted(found) == NOT_IMPLEMENTED


SPECIAL: dict[tuple[str, str], Any] = {
    ("Mutation", "createRun"): {"pipelineName": "p"},
    ("Mutation", "appendComputeLog"): {"runId": "r", "stepKey": "s", "ioType": "STDOUT", "offset": "0", "data": ""},
}


def test_read_only_has_no_mutations() -> None:
    """A read-only schema leaves them out, and stands without them."""
    schema = build_schema(read_only=True)
    assert "Mutation" not in schema._schema.type_map
    assert "Query" in schema._schema.type_map
