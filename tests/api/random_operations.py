"""Random operations over a schema: aliases, fragments, merged fields, directives, `__typename` anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
)
from hypothesis import strategies as st

VARIABLES = {"b0": "Boolean!", "b1": "Boolean! = true", "b2": "Boolean = false"}
"""Variables of every operation that asks for them, with their types."""
MOST_DEPTH = 3


@dataclass(frozen=True)
class RandomOperation:
    """A document, and the values of its variables that it is to be run with, one after the other."""

    document: str
    variables: tuple[dict[str, Any], ...]


@st.composite
def operations(
    draw: st.DrawFn, schema: GraphQLSchema, kind: str, fields: tuple[str, ...], arguments: dict[str, str]
) -> RandomOperation:
    """Operations with one of the root fields; `arguments`: what stands behind a field (`Run.events`)."""
    root = schema.query_type if kind == "query" else schema.subscription_type
    assert root is not None
    name = draw(st.sampled_from(fields))
    writer = _Writer(draw, schema, arguments)
    body = writer.selection(get_named_type(root.fields[name].type), 0)
    fragments = "".join(f"\nfragment {name} on {text}" for name, text in writer.fragments.items())
    used = [name for name in VARIABLES if f"${name}" in body + fragments]
    declared = f"({', '.join(f'${name}: {VARIABLES[name]}' for name in used)})" if used else ""
    values = []
    for _ in range(draw(st.integers(2, 3)) if used else 1):
        given = {}
        for name_ in used:
            value = draw(st.sampled_from([True, False] if name_ == "b0" else [True, False, "absent"]))
            if value != "absent":
                given[name_] = value
        values.append(given)
    return RandomOperation(f"{kind} Random{declared} {{ {name} {body} }}{fragments}", tuple(values))


class _Writer:
    def __init__(self, draw: st.DrawFn, schema: GraphQLSchema, arguments: dict[str, str]) -> None:
        self.fragments: dict[str, str] = {}
        self._draw = draw
        self._schema = schema
        self._arguments = arguments

    def selection(self, kind: GraphQLNamedType, depth: int) -> str:
        parts = [self._part(kind, depth) for _ in range(self._draw(st.integers(1, 5 if depth == 0 else 3)))]
        return f"{{ {' '.join(parts)} }}"

    def _part(self, kind: GraphQLNamedType, depth: int) -> str:
        form = self._draw(st.sampled_from(["field"] * 5 + ["inline", "named", "again", "typename"]))
        if form == "field" or depth >= MOST_DEPTH:
            return self._field(kind, depth)
        if form == "typename":
            return self._alias("__typename") + self._directives()
        if form == "again" and self.fragments:
            fitting = [n for n, text in self.fragments.items() if text.startswith(f"{kind.name} ")]
            if fitting:
                return f"...{self._draw(st.sampled_from(fitting))}{self._directives()}"
        condition = self._draw(st.sampled_from(self._conditions(kind)))
        narrowed = self._schema.type_map[condition.name]
        inner = self.selection(narrowed, depth + 1)
        if form == "inline":
            plain = condition is kind and self._draw(st.booleans())
            return f"...{'' if plain else f' on {condition.name}'}{self._directives()} {inner}"
        name = f"F{len(self.fragments)}"
        self.fragments[name] = f"{condition.name} {inner}"
        return f"...{name}{self._directives()}"

    def _conditions(self, kind: GraphQLNamedType) -> list[GraphQLNamedType]:
        if is_abstract_type(kind):
            # Its own name comes often: such a fragment doesn't tell one type from another.
            possible = sorted(self._schema.get_possible_types(kind), key=lambda t: t.name)
            return [kind] * len(possible) + [*possible]
        return [kind, *getattr(kind, "interfaces", ())]

    def _field(self, kind: GraphQLNamedType, depth: int) -> str:
        # A union has none.
        there: dict[str, GraphQLField] = getattr(kind, "fields", {})
        fields = {name: field for name, field in there.items() if self._may_stand(kind, name, field, depth)}
        if not fields:
            return "__typename"
        name = self._draw(st.sampled_from(sorted(fields)))
        head = f"{self._alias(name)}{self._arguments.get(f'{kind.name}.{name}', '')}{self._directives()}"
        inner = get_named_type(fields[name].type)
        return head if is_leaf_type(inner) else f"{head} {self.selection(inner, depth + 1)}"

    def _may_stand(self, kind: GraphQLNamedType, name: str, field: GraphQLField, depth: int) -> bool:
        if f"{kind.name}.{name}" not in self._arguments and any(map(is_required_argument, field.args.values())):
            return False
        return depth < MOST_DEPTH or is_leaf_type(get_named_type(field.type))

    def _alias(self, name: str) -> str:
        # One alias means one field, so that most documents are valid.
        return self._draw(st.sampled_from(["", "", "", f"a_{name}: ", f"z_{name}: "])) + name

    def _directives(self) -> str:
        form = self._draw(st.sampled_from([""] * 6 + ["skip", "include", "both"]))
        names = ["skip", "include"] if form == "both" else [form] if form else []
        return "".join(f" @{name}(if: {self._condition()})" for name in names)

    def _condition(self) -> str:
        return self._draw(st.sampled_from(["true", "false", "$b0", "$b1", "$b2", "$b0"]))
