"""Documents out of .graphql files: one for each operation, with the fragments that it needs, from whichever file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from graphql import (
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    Source,
    Visitor,
    parse,
    validate,
    visit,
)

from daglens.server.documents.manifest import InvalidDocuments, hash_of


def documents_of(paths: Iterable[Path], schema: GraphQLSchema) -> Mapping[str, str]:
    """Documents by id, of files and of all `.graphql` files below folders.

    A document is the operation's text, then its fragments in the order in which they are first spread.

    Raises:
        InvalidDocuments: A file can't be read, or holds what the schema doesn't answer.
    """
    operations: list[tuple[Path, OperationDefinitionNode]] = []
    fragments: dict[str, FragmentDefinitionNode] = {}
    for path in _files(paths):
        for node in _definitions(path):
            if isinstance(node, OperationDefinitionNode):
                operations.append((path, node))
            elif isinstance(node, FragmentDefinitionNode):
                known = fragments.setdefault(node.name.value, node)
                if _text(known) != _text(node):
                    raise InvalidDocuments(f"{path}: another fragment {node.name.value} stands in another file.")
    found: dict[str, str] = {}
    for path, operation in operations:
        text = "\n\n".join(_text(node) for node in (operation, *_needed(operation, fragments)))
        errors = validate(schema, parse(text))
        if errors:
            name = operation.name.value if operation.name else "an operation"
            raise InvalidDocuments(f"{path}: {name}: {errors[0].message}")
        found[hash_of(text)] = text
    if not found:
        raise InvalidDocuments("There is no operation in these files.")
    return found


def _files(paths: Iterable[Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in paths:
        files |= dict.fromkeys(sorted(path.rglob("*.graphql")) if path.is_dir() else [path])
    return list(files)


def _definitions(path: Path) -> Iterable[Node]:
    try:
        return parse(Source(path.read_text(encoding="utf-8"), str(path))).definitions
    except OSError as error:
        raise InvalidDocuments(f"{path}: {error.strerror}.") from None
    except (GraphQLError, UnicodeDecodeError) as error:
        raise InvalidDocuments(f"{path}: {error}") from None


def _text(node: Node) -> str:
    assert node.loc is not None
    return node.loc.source.body[node.loc.start : node.loc.end]


def _needed(operation: Node, fragments: Mapping[str, FragmentDefinitionNode]) -> list[FragmentDefinitionNode]:
    needed: dict[str, FragmentDefinitionNode] = {}
    spreads = _Spreads()
    visit(operation, spreads)
    waiting = spreads.names
    while waiting:
        name = waiting.pop(0)
        if name in fragments and name not in needed:
            needed[name] = fragments[name]
            inner = _Spreads()
            visit(fragments[name], inner)
            waiting = inner.names + waiting
    return list(needed.values())


class _Spreads(Visitor):
    """Collects the fragments that a definition spreads."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        """Called by visit."""
        self.names.append(node.name.value)
