"""Plans by what they depend on, the latest used of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLOutputType,
    InlineFragmentNode,
    SelectionSetNode,
    VariableNode,
)
from graphql.execution.collect_fields import FieldDetailsList

from daglens.schema.compiled.plan import ListPlan

MOST_SELECTIONS = 512
MOST_VARIANTS = 16
"""Plans of one selection: it may have as many as its variables have values."""


class Selection:
    """The fields that lists are selected by, and the plans for them.

    Holds the nodes: their ids are the key, and must not be given to others while the plans are kept.

    Attributes:
        variables: Names of the variables that `@skip` and `@include` below those fields ask for.
        plans: By the values of these variables; None where there is no plan.
    """

    __slots__ = ("item_type", "nodes", "plans", "variables")

    def __init__(
        self,
        item_type: GraphQLOutputType,
        nodes: tuple[FieldNode, ...],
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> None:
        self.item_type = item_type
        self.nodes = nodes
        self.variables = _variables_below(nodes, fragments)
        self.plans: dict[tuple[Any, ...], ListPlan | None] = {}

    def values(self, variables: Mapping[str, Any]) -> tuple[Any, ...]:
        """The key of a plan for these values of variables."""
        return tuple([variables.get(name) for name in self.variables])

    def keep(self, values: tuple[Any, ...], plan: ListPlan | None) -> None:
        """Keep a plan for these values."""
        if len(self.plans) >= MOST_VARIANTS:
            self.plans.clear()
        self.plans[values] = plan


class PlanCache:
    """Selections by item type, by how the list comes, and by field nodes."""

    def __init__(self, most: int = MOST_SELECTIONS) -> None:
        self._most = most
        self._selections: OrderedDict[tuple[Any, ...], Selection] = OrderedDict()

    def __len__(self) -> int:
        return len(self._selections)

    def selection(
        self,
        item_type: GraphQLOutputType,
        source: type,
        details: FieldDetailsList,
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> Selection:
        """The selection of a list, made when it isn't there."""
        if len(details) == 1:
            key: tuple[Any, ...] = (id(item_type), source, id(details[0].node))
        else:
            key = (id(item_type), source, *[id(detail.node) for detail in details])
        selection = self._selections.get(key)
        if selection is None:
            selection = Selection(item_type, tuple(detail.node for detail in details), fragments)
            self._selections[key] = selection
            if len(self._selections) > self._most:
                self._selections.popitem(last=False)
        else:
            self._selections.move_to_end(key)
        return selection


def _variables_below(nodes: Iterable[FieldNode], fragments: Mapping[str, FragmentDefinitionNode]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    visited: set[str] = set()
    waiting: list[SelectionSetNode] = [node.selection_set for node in nodes if node.selection_set is not None]
    while waiting:
        for node in waiting.pop().selections:
            for directive in node.directives or ():
                for argument in directive.arguments or ():
                    if isinstance(argument.value, VariableNode):
                        names[argument.value.name.value] = None
            if isinstance(node, FragmentSpreadNode):
                if node.name.value not in visited and node.name.value in fragments:
                    visited.add(node.name.value)
                    waiting.append(fragments[node.name.value].selection_set)
            elif isinstance(node, FieldNode):
                if node.selection_set is not None:
                    waiting.append(node.selection_set)
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
    return tuple(names)
