"""The contract's operations: their text with the shared fragments, and which of their leaves were seen non-null."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    NameNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    print_ast,
    visit,
)
from graphql.language import Visitor

FOLDER = Path(__file__).parent.parent / "contract" / "operations"
SHARED = "fragments.graphql"


def names() -> list[str]:
    """Files with operations, without the one that holds only fragments."""
    return sorted(path.name for path in FOLDER.glob("*.graphql") if path.name != SHARED)


def text(name: str, folder: Path = FOLDER) -> str:
    """A file as a client sends it: with those of the shared fragments that it uses."""
    document = parse((folder / name).read_text(encoding="utf-8"))
    shared = fragments(parse((folder / SHARED).read_text(encoding="utf-8")))
    own = fragments(document)
    wanted, used = list(spreads(document)), list[str]()
    while wanted:
        fragment = wanted.pop()
        if fragment in shared and fragment not in own and fragment not in used:
            used.append(fragment)
            wanted += spreads(shared[fragment])
    return "\n".join([print_ast(document), *(print_ast(shared[fragment]) for fragment in used)])


def operations(name: str, folder: Path = FOLDER) -> dict[str, OperationDefinitionNode]:
    """The operations of a file, by name."""
    definitions = parse((folder / name).read_text(encoding="utf-8")).definitions
    return {d.name.value: d for d in definitions if isinstance(d, OperationDefinitionNode) and d.name is not None}


def fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}


def spreads(node: DocumentNode | FragmentDefinitionNode) -> Iterator[str]:
    """Names of the fragments used, directly."""

    class Spreads(Visitor):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
            self.found.append(node.name.value)

    visitor = Spreads()
    visit(node, visitor)
    return iter(visitor.found)


class Leaves:
    """Leaves of operations, each named by definition and path, and those that were seen non-null.

    A fragment's leaves are its own, wherever it is spread.
    """

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self.all: set[str] = set()
        self.seen: set[str] = set()

    def asking(self, document: str) -> str:
        """The document with `__typename` in every selection, which `note` needs; its leaves count from now on."""
        parsed = parse(document)
        for definition in parsed.definitions:
            if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
                self.all |= set(leaves(definition.selection_set, title(definition)))

        class Typed(Visitor):
            def leave_selection_set(self, node: SelectionSetNode, _k: Any, parent: Any, *_: Any) -> Any:
                root = isinstance(parent, OperationDefinitionNode) and parent.operation.value == "subscription"
                if root:
                    return None
                typename = FieldNode(name=NameNode(value="__typename"), alias=NameNode(value="_type"))
                return SelectionSetNode(selections=(*node.selections, typename))

        return print_ast(visit(parsed, Typed()))

    def note(self, document: str, operation: str, data: Mapping[str, Any] | None) -> None:
        """Note what an answer to `asking(document)` holds."""
        parsed = parse(document)
        shared = fragments(parsed)
        for definition in parsed.definitions:
            if (
                isinstance(definition, OperationDefinitionNode)
                and definition.name
                and definition.name.value == operation
            ):
                self._walk(definition.selection_set, title(definition), data, shared)

    def _walk(
        self, selections: SelectionSetNode, path: str, value: Any, shared: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        if isinstance(value, list):
            for item in value:
                self._walk(selections, path, item, shared)
        elif isinstance(value, Mapping):
            for node in selections.selections:
                if isinstance(node, FieldNode):
                    inner = value.get(node.alias.value if node.alias else node.name.value)
                    if inner is not None and node.selection_set is None:
                        self.seen.add(f"{path}.{node.name.value}")
                    elif inner is not None and node.selection_set is not None:
                        self._walk(node.selection_set, f"{path}.{node.name.value}", inner, shared)
                elif isinstance(node, InlineFragmentNode):
                    condition = node.type_condition.name.value if node.type_condition else None
                    if self._is(value.get("_type"), condition):
                        self._walk(node.selection_set, f"{path}.<{condition}>", value, shared)
                elif isinstance(node, FragmentSpreadNode):
                    fragment = shared[node.name.value]
                    if self._is(value.get("_type"), fragment.type_condition.name.value):
                        self._walk(fragment.selection_set, title(fragment), value, shared)

    def _is(self, concrete: str | None, condition: str | None) -> bool:
        if condition is None or concrete == condition:
            return True
        abstract: Any = self._schema.type_map[condition]
        possible = self._schema.get_possible_types(abstract) if not hasattr(abstract, "is_type_of") else ()
        return concrete in {type_.name for type_ in possible}


def title(node: OperationDefinitionNode | FragmentDefinitionNode) -> str:
    assert node.name is not None
    return node.name.value


def leaves(selections: SelectionSetNode, path: str) -> Iterator[str]:
    for node in selections.selections:
        if isinstance(node, FieldNode):
            inner = f"{path}.{node.name.value}"
            if node.selection_set is None:
                yield inner
            else:
                yield from leaves(node.selection_set, inner)
        elif isinstance(node, InlineFragmentNode):
            condition = node.type_condition.name.value if node.type_condition else None
            yield from leaves(node.selection_set, f"{path}.<{condition}>")
