"""The reference of the GraphQL schema, out of the SDL that is exported from the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLType,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    is_specified_scalar_type,
    print_ast,
)

FILE = Path(__file__).parents[2] / "daglens" / "graphql" / "schema.graphql"

HEAD = """# GraphQL schema

Every field and type that a server answers. The same text as [SDL](schema.graphql) is served at `/schema.graphql`, and
GraphiQL has it in its Docs pane. How to use it: [Query and subscribe](../api.md).
"""

_KINDS: tuple[tuple[str, type[GraphQLNamedType]], ...] = (
    ("Types", GraphQLObjectType),
    ("Interfaces", GraphQLInterfaceType),
    ("Unions", GraphQLUnionType),
    ("Inputs", GraphQLInputObjectType),
    ("Enums", GraphQLEnumType),
    ("Scalars", GraphQLScalarType),
)


def page() -> str:
    """Text of the page."""
    schema = build_schema(FILE.read_text(encoding="utf-8"))
    roots = [schema.query_type, schema.mutation_type, schema.subscription_type]
    parts = [HEAD]
    for title, root in zip(("Queries", "Mutations", "Subscriptions"), roots, strict=True):
        assert root is not None
        parts += [f"## {title}\n", *(_operation(name, field) for name, field in root.fields.items())]
    names = sorted(name for name in schema.type_map if not name.startswith("__"))
    for title, kind in _KINDS:
        found = [schema.type_map[name] for name in names if isinstance(schema.type_map[name], kind)]
        shown = [each for each in found if each not in roots and not is_specified_scalar_type(each)]
        parts += [f"## {title}\n", *(_type(schema, each) for each in shown)]
    return "\n".join(parts)


def _operation(name: str, field: GraphQLField) -> str:
    arguments = "".join(
        f"| `{key}` | {_linked(each.type)} | {_cell(each.description)} |\n" for key, each in field.args.items()
    )
    table = f"\n| argument | | |\n|---|---|---|\n{arguments}" if arguments else ""
    return f"### {name}\n\n{field.description or ''}\n\nGives {_linked(field.type)}.\n{table}"


def _type(schema: GraphQLSchema, found: GraphQLNamedType) -> str:
    lines = [f"### {found.name} {{#{_anchor(found.name)}}}\n", f"{found.description or ''}\n", *_inside(schema, found)]
    return "\n".join(lines) + "\n"


def _inside(schema: GraphQLSchema, found: GraphQLNamedType) -> Iterator[str]:
    if isinstance(found, GraphQLUnionType):
        yield "One of " + ", ".join(_link(each.name) for each in found.types) + "."
    elif isinstance(found, GraphQLEnumType):
        yield from ("| value | |", "|---|---|")
        for name, value in found.values.items():
            yield f"| `{name}` | {_cell(value.description)} |"
    elif isinstance(found, (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType)):
        if not isinstance(found, GraphQLInputObjectType) and found.interfaces:
            yield "Implements " + ", ".join(_link(each.name) for each in found.interfaces) + ".\n"
        if isinstance(found, GraphQLInterfaceType):
            names = sorted(each.name for each in schema.get_implementations(found).objects)
            yield "Implemented by " + ", ".join(map(_link, names)) + ".\n"
        yield from ("| field | | |", "|---|---|---|")
        for name, field in found.fields.items():
            yield f"| {_signature(name, field)} | {_linked(field.type)} | {_cell(field.description)} |"


def _signature(name: str, field: object) -> str:
    if isinstance(field, GraphQLField) and field.args:
        taken = ", ".join(
            print_ast(each.ast_node.type).join((f"{key}: ", "")) for key, each in field.args.items() if each.ast_node
        )
        return f"`{name}({taken})`"
    return f"`{name}`"


def _linked(type_: GraphQLType) -> str:
    text, name = str(type_), get_named_type(type_).name
    before, _, after = text.partition(name)
    escaped = before.replace("[", "\\[")
    return f"{escaped}{_link(name)}{after.replace(']', chr(92) + ']')}"


def _link(name: str) -> str:
    return name if name in ("String", "Int", "Float", "Boolean", "ID") else f"[{name}](#{_anchor(name)})"


def _anchor(name: str) -> str:
    # Not the heading's own: the query `instance` has that of the type `Instance`.
    return f"type-{name}"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
