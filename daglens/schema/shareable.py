"""Which subscriptions give all who send them the same messages, but for the place they begin at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    parse,
    visit,
)

from daglens.schema.documents import CACHED_DOCUMENTS

FIELDS = frozenset({"runEvents", "computeLog"})
"""Root fields whose messages depend on nothing but their arguments."""
_MOST_CHARS = 20_000
_MOST_TOKENS = 1_000
"""More stand in no subscription of one field that is worth sharing; it is parsed here before any limit is looked at."""


@dataclass(frozen=True, slots=True)
class Shareable:
    """A subscription that can be executed once for all who send it with the same variables.

    Attributes:
        after_variable: The variable that only says where to begin; None when the document itself says so.
        after_given: The document gives `after` as a literal.
    """

    after_variable: str | None
    after_given: bool


def shareable(query: str, operation_name: str | None) -> Shareable | None:
    """How a document's operation can be shared; None when it can't.

    Stricter than it would have to be: one plain root field, without directives. Says nothing about whether the
    document is valid.
    """
    # Looked at before anything is kept: what is long is not.
    if "subscription" not in query or len(query) > _MOST_CHARS or len(operation_name or "") > _MOST_CHARS:
        return None
    return _shareable(query, operation_name)


@lru_cache(maxsize=CACHED_DOCUMENTS)
def _shareable(query: str, operation_name: str | None) -> Shareable | None:
    try:
        document = parse(query, no_location=True, max_tokens=_MOST_TOKENS)
    except (GraphQLError, RecursionError):
        return None
    operation = _operation(document, operation_name)
    if operation is None or operation.operation is not OperationType.SUBSCRIPTION or operation.directives:
        return None
    selections = operation.selection_set.selections
    root = selections[0]
    if len(selections) != 1 or not isinstance(root, FieldNode) or root.name.value not in FIELDS or root.directives:
        return None
    after = next((argument.value for argument in root.arguments or () if argument.name.value == "after"), None)
    if not isinstance(after, VariableNode):
        return Shareable(None, after is not None)
    name = after.name.value
    variable = next((v for v in operation.variable_definitions or () if v.variable.name.value == name), None)
    if variable is None or variable.default_value is not None or isinstance(variable.type, NonNullTypeNode):
        return None
    uses = _Uses(name)
    visit(document, uses)
    # Its definition and this use of it: anywhere else it may change what is answered.
    return Shareable(name, False) if uses.count == 2 else None


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    if name is None:
        return operations[0] if len(operations) == 1 else None
    return next((o for o in operations if o.name is not None and o.name.value == name), None)


class _Uses(Visitor):
    """Counts how often a variable stands in a document."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.count = 0

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        """Called by visit."""
        self.count += node.name.value == self._name
