"""The shape of a document: how deep and how wide what it asks for is, its fragments written out.

A fragment is looked at once, however often it is spread: the effort grows with the document's length alone. So this
may be asked of a document that was parsed and not validated yet, and must be: validating compares fields in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

MOST_NESTING = 150
"""Selections in selections, fragments included. What reads a document after this goes down by a few calls for each, and
Python allows it a thousand."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is selected.

    Attributes:
        depth: Fields in fields.
        aliases: Fields under another name, and fields that stand twice in one selection; in a fragment, as often as it
            is spread.
        fields: At the top.
        nesting: Selections in selections: fields, inline fragments and fragments.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    nesting: int = 0


def shape_of(document: DocumentNode) -> Shape:
    """The shape of a document: of several operations, the largest of each number.

    `@skip` and `@include` are passed over. What validation will complain of (fragments that don't exist, or that spread
    themselves) counts nothing.

    Raises:
        RecursionError: It is nested far too deeply.
    """
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    measure = _Measure(fragments)
    operations = (one for one in document.definitions if isinstance(one, OperationDefinitionNode))
    shapes = [measure.selection(operation.selection_set) for operation in operations]
    return Shape(
        depth=max((shape.depth for shape in shapes), default=0),
        aliases=max((shape.aliases for shape in shapes), default=0),
        fields=max((shape.fields for shape in shapes), default=0),
        nesting=max((shape.nesting for shape in shapes), default=0),
    )


class _Measure:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, Shape] = {}
        self._open: set[str] = set()

    def selection(self, selections: SelectionSetNode) -> Shape:
        """The shape of what stands in one pair of braces."""
        depth = aliases = fields = nesting = 0
        names: set[str] = set()
        for node in selections.selections:
            if isinstance(node, FieldNode):
                inner = Shape() if node.selection_set is None else self.selection(node.selection_set)
                name = node.name.value if node.alias is None else node.alias.value
                own = name in names or (node.alias is not None and name != node.name.value)
                names.add(name)
                found = Shape(inner.depth + 1, inner.aliases + own, 1, inner.nesting + 1)
            elif isinstance(node, InlineFragmentNode):
                inner = self.selection(node.selection_set)
                found = Shape(inner.depth, inner.aliases, inner.fields, inner.nesting + 1)
            else:
                assert isinstance(node, FragmentSpreadNode)
                found = self._fragment(node.name.value)
            depth = max(depth, found.depth)
            nesting = max(nesting, found.nesting)
            aliases += found.aliases
            fields += found.fields
        return Shape(depth, aliases, fields, nesting)

    def _fragment(self, name: str) -> Shape:
        known = self._known.get(name)
        if known is not None:
            return known
        fragment = self._fragments.get(name)
        if fragment is None or name in self._open:
            return Shape()
        self._open.add(name)
        inner = self.selection(fragment.selection_set)
        self._open.discard(name)
        shape = self._known[name] = Shape(inner.depth, inner.aliases, inner.fields, inner.nesting + 1)
        return shape
