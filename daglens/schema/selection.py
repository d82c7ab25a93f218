"""Which fields an operation selects below the one being resolved, so that only what is asked for is read."""

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    BooleanValueNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    SelectionSetNode,
    VariableNode,
)

from daglens.schema.info import Info


def selected(info: Info, *path: str) -> frozenset[str]:
    """Names of the fields selected at `path` below the field being resolved, of whatever type.

    `@skip` and `@include` are heeded, type conditions aren't: at most too much is named, never too little.
    """
    raw = info._raw_info
    found: Iterable[FieldNode] = raw.field_nodes
    for name in (*path, None):
        found = [
            field
            for node in found
            if node.selection_set is not None
            for field in _fields(node.selection_set, raw.fragments, info.variable_values, set())
            if name is None or field.name.value == name
        ]
    return frozenset(field.name.value for field in found)


def _fields(
    selections: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
    visited: set[str],
) -> Iterable[FieldNode]:
    for node in selections.selections:
        if not _included(node.directives, variables):
            continue
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments, variables, visited)
        elif isinstance(node, FragmentSpreadNode) and node.name.value not in visited:
            visited.add(node.name.value)
            yield from _fields(fragments[node.name.value].selection_set, fragments, variables, visited)


def _included(directives: Iterable[Any] | None, variables: Mapping[str, Any]) -> bool:
    for directive in directives or ():
        name = directive.name.value
        if name not in ("skip", "include"):
            continue
        condition = next((argument.value for argument in directive.arguments if argument.name.value == "if"), None)
        value: Any = None
        if isinstance(condition, BooleanValueNode):
            value = condition.value
        elif isinstance(condition, VariableNode):
            value = variables.get(condition.name.value)
        if value is (name == "skip"):
            return False
    return True
