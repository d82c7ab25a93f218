"""The served schema keeps what the contract promises to clients: names, types, defaults, descriptions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    find_breaking_changes,
    is_specified_scalar_type,
    print_ast,
)

from daglens.schema import export

CONTRACT = Path(__file__).parent.parent / "contract" / "schema.graphql"


@pytest.fixture(scope="module")
def contract() -> GraphQLSchema:
    return build_schema(CONTRACT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def served() -> GraphQLSchema:
    """What clients see: the exported text, not the objects it was made from."""
    return build_schema(export.FILE.read_text(encoding="utf-8"))


def types(schema: GraphQLSchema) -> Iterator[GraphQLNamedType]:
    return (t for t in schema.type_map.values() if not t.name.startswith("__") and not is_specified_scalar_type(t))


def described(schema: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    """Every place that can have a description, and the one it has."""
    for type_ in types(schema):
        yield type_.name, type_.description
        if isinstance(type_, GraphQLEnumType):
            yield from ((f"{type_.name}.{name}", value.description) for name, value in type_.values.items())
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field.description
                for argument_name, argument in getattr(field, "args", {}).items():
                    yield f"{type_.name}.{name}({argument_name}:)", argument.description


def shapes(schema: GraphQLSchema) -> Iterator[tuple[str, str]]:
    """Every place that has a type, a default, members or values, and what it has, from the schema's own text."""
    for type_ in types(schema):
        if isinstance(type_, GraphQLUnionType):
            yield from ((f"{type_.name} | {member.name}", "member") for member in type_.types)
        if isinstance(type_, GraphQLEnumType):
            yield from ((f"{type_.name}.{name}", "value") for name in type_.values)
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            yield from ((f"{type_.name} implements {base.name}", "") for base in type_.interfaces)
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", str(field.type)
                for argument_name, argument in field.args.items():
                    yield f"{type_.name}.{name}({argument_name}:)", f"{argument.type} = {default(argument)}"
        if isinstance(type_, GraphQLInputObjectType):
            for name, value in type_.fields.items():
                yield f"{type_.name}.{name}", f"{value.type} = {default(value)}"


def default(value: object) -> str:
    """The default as it is written. Absent is not `null`: an absent argument reaches a resolver differently."""
    node = getattr(value, "ast_node", None)
    assert node is not None
    return "absent" if node.default_value is None else print_ast(node.default_value)


def test_nothing_breaks_a_client_of_the_contract(contract: GraphQLSchema, served: GraphQLSchema) -> None:
    """graphql-core finds no breaking change from the contract to the served schema."""
    assert [change.description for change in find_breaking_changes(contract, served)] == []


def test_types_nullability_and_defaults_are_the_contracts(contract: GraphQLSchema, served: GraphQLSchema) -> None:
    """Whatever the contract names has the same type, the same nullability and the same default here."""
    ours = dict(shapes(served))
    assert {place: ours.get(place) for place, _ in shapes(contract)} == dict(shapes(contract))


def test_enums_that_are_read_have_no_more_values(contract: GraphQLSchema, served: GraphQLSchema) -> None:
    """An enum has exactly the contract's values: clients switch over them."""
    for type_ in types(contract):
        if isinstance(type_, GraphQLEnumType):
            ours = served.type_map[type_.name]
            assert isinstance(ours, GraphQLEnumType)
            assert list(ours.values) == list(type_.values)


def test_descriptions_are_the_contracts(contract: GraphQLSchema, served: GraphQLSchema) -> None:
    """Every description that the contract has stands in the served schema, word for word."""
    ours = dict(described(served))
    promised = {place: text for place, text in described(contract) if text}
    assert len(promised) > 60
    assert {place: ours.get(place) for place in promised} == promised


def test_everything_is_described(served: GraphQLSchema) -> None:
    """Somebody who has only GraphiQL open finds a description on every type, field and argument."""
    assert [place for place, text in described(served) if not text and not is_enum_value(served, place)] == []


def is_enum_value(schema: GraphQLSchema, place: str) -> bool:
    return isinstance(schema.type_map.get(place.split(".")[0]), GraphQLEnumType) and "." in place


def test_exported_file_is_not_stale() -> None:
    """`daglens/graphql/schema.graphql` is what the types say."""
    assert export.FILE.read_text(encoding="utf-8") == export.sdl()


def test_check_tells_a_stale_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--check` fails on a missing or changed file, writing makes it pass."""
    monkeypatch.setattr(export, "FILE", tmp_path / "graphql" / "schema.graphql")
    assert export.main(["--check"]) == 1
    assert export.main([]) == 0
    assert export.main(["--check"]) == 0
    export.FILE.write_text(export.FILE.read_text() + "#")
    assert export.main(["--check"]) == 1
    assert export.main(["--cheek"]) == 2


def test_export_runs_as_a_module() -> None:
    """`python -m daglens.schema.export --check` is what CI calls."""
    subprocess.run([sys.executable, "-m", "daglens.schema.export", "--check"], check=True, timeout=60)
