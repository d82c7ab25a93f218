"""The cost of an operation: rows asked for, times what is asked of each.

What a document asks for is made out once; its variables then say how many rows that are. The cost is what may be read
at most: a page that is asked for costs as many rows as its limit, however few there are, and fields for several types
of events count for each event.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_list_type,
    is_non_null_type,
)

from daglens.schema.limits.weights import PAGES, TENTHS, USUAL, WEIGHTS, Weight

_EMBEDDED = 1  # tenths of a point
_KEPT_COSTS = 64

Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Value:
    """A number, or a yes or no, in a document: as it stands there, or in a variable."""

    fixed: Any = None
    variable: str | None = None

    def of(self, variables: Variables) -> Any:
        return self.fixed if self.variable is None else variables.get(self.variable, self.fixed)


@dataclass(frozen=True, slots=True)
class _Condition:
    """`@skip` (`ends_if` True) or `@include` (False)."""

    value: _Value
    ends_if: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """A field, or a fragment, and what is selected below it; `fragment` names one that is spread."""

    conditions: tuple[_Condition, ...] = ()
    own: int = 0
    weight: Weight | None = None
    count: _Value | None = None
    times: int = 1
    in_page: bool = False
    is_field: bool = True
    fragment: str | None = None
    below: tuple[_Part, ...] = ()


class OperationCost:
    """The cost of one operation of a document that is valid."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        found = (one for one in document.definitions if isinstance(one, FragmentDefinitionNode))
        self._schema = schema
        self._defaults = {
            one.variable.name.value: one.default_value
            for one in operation.variable_definitions or ()
            if one.default_value
        }
        self._fragments: dict[str, tuple[_Part, ...]] = {}
        self._names: dict[str, None] = {}
        fragments = {fragment.name.value: fragment for fragment in found}
        for name, fragment in fragments.items():
            on = schema.type_map[fragment.type_condition.name.value]
            self._fragments[name] = self._parts(fragment.selection_set, on)
        root = schema.get_root_type(operation.operation)
        assert root is not None
        self._top = self._parts(operation.selection_set, root)
        self._kept: OrderedDict[tuple[Any, ...], int] = OrderedDict()

    def points(self, variables: Variables) -> int:
        """What it costs with these variables, as clients send them."""
        key = tuple(_key(variables.get(name, Undefined)) for name in self._names)
        cost = self._kept.get(key)
        if cost is None:
            once, each = _Sum(self._fragments, variables).of(self._top)
            cost = self._kept[key] = math.ceil((once + each) / TENTHS)
            if len(self._kept) > _KEPT_COSTS:
                self._kept.popitem(last=False)
        return cost

    # ------------------------------------------------------------ reading the document

    def _parts(self, selections: SelectionSetNode, on: GraphQLNamedType) -> tuple[_Part, ...]:
        return tuple(self._part(node, on) for node in selections.selections)

    def _part(self, node: Any, on: GraphQLNamedType) -> _Part:
        conditions = tuple(self._conditions(node.directives or ()))
        if isinstance(node, FragmentSpreadNode):
            return _Part(conditions, is_field=False, fragment=node.name.value)
        if isinstance(node, InlineFragmentNode):
            if node.type_condition is not None:
                on = self._schema.type_map[node.type_condition.name.value]
            return _Part(conditions, is_field=False, below=self._parts(node.selection_set, on))
        assert isinstance(node, FieldNode)
        return self._field(node, on, conditions)

    def _field(self, node: FieldNode, on: GraphQLNamedType, conditions: tuple[_Condition, ...]) -> _Part:
        name = node.name.value
        weight = WEIGHTS.get((on.name, name))
        if weight is None and name in ("__schema", "__type"):
            weight = WEIGHTS[("Query", name)]
        field = on.fields.get(name) if isinstance(on, GraphQLObjectType | GraphQLInterfaceType) else None
        if field is None or name.startswith("__"):
            # Introspection is paid for at its top; how deep it goes is graphql-core's MaxIntrospectionDepthRule's.
            return _Part(conditions, own=0 if weight is None else weight.points * TENTHS)
        type_ = get_named_type(field.type)
        below = () if node.selection_set is None else self._parts(node.selection_set, type_)
        if (on.name, name) in PAGES:
            return _Part(conditions, in_page=True, below=below)
        if weight is None:
            own, times = (_EMBEDDED if is_composite_type(type_) else 0), (USUAL if _is_list(field.type) else 1)
            return _Part(conditions, own=own * times, times=times, below=below)
        count = None
        if weight.counted is not None:
            argument = field.args[weight.counted]
            given = next((one.value for one in node.arguments or () if one.name.value == weight.counted), None)
            count = _Value(argument.default_value) if given is None else self._value(given, argument.default_value)
        return _Part(conditions, own=weight.points * TENTHS, weight=weight, count=count, below=below)

    def _conditions(self, directives: Iterable[DirectiveNode]) -> Iterable[_Condition]:
        for directive in directives:
            if directive.name.value in ("skip", "include"):
                value = next(one.value for one in directive.arguments or () if one.name.value == "if")
                yield _Condition(self._value(value), directive.name.value == "skip")

    def _value(self, node: ValueNode | None, default: Any = None) -> _Value:
        if isinstance(node, VariableNode):
            name = node.name.value
            self._names[name] = None
            given = self._defaults.get(name)
            return _Value(default if given is None else self._value(given).fixed, name)
        if isinstance(node, IntValueNode | FloatValueNode):
            return _Value(float(node.value))
        if isinstance(node, BooleanValueNode):
            return _Value(node.value)
        return _Value([None] * len(node.values)) if isinstance(node, ListValueNode) else _Value()


class _Sum:
    """Adds up, in tenths of a point: what is paid once, and for each row of the page that stands around it."""

    def __init__(self, fragments: Mapping[str, tuple[_Part, ...]], variables: Variables) -> None:
        self._fragments = fragments
        self._variables = variables
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, parts: Iterable[_Part]) -> tuple[int, int]:
        once = each = 0
        for part in parts:
            if any(condition.value.of(self._variables) is condition.ends_if for condition in part.conditions):
                continue
            if part.fragment is not None:
                more_once, more_each = self._fragment(part.fragment)
            elif not part.is_field:
                more_once, more_each = self.of(part.below)
            elif part.in_page:
                more_once, more_each = 0, sum(self.of(part.below))
            else:
                more_once, more_each = self._field(part), 0
            once += more_once
            each += more_each
        return once, each

    def _fragment(self, name: str) -> tuple[int, int]:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self.of(self._fragments[name])
        return known

    def _field(self, part: _Part) -> int:
        once, each = self.of(part.below)
        weight = part.weight
        if weight is None:
            return part.own + part.times * (once + each)
        rows = weight.usual if part.count is None else _number(part.count.of(self._variables), weight)
        own = part.own + rows * TENTHS
        if weight.is_page:
            return own + once + rows * each
        return own + (rows if weight.is_list else 1) * (once + each)


def _number(value: Any, weight: Weight) -> int:
    """Rows asked for. What is no number will be refused; until then it counts as the most there can be."""
    if weight.counts_items:
        return len(value) if isinstance(value, list) else 1
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    asked = value if is_number else weight.most
    return math.ceil(min(max(asked, 0), weight.most) / weight.per)


def _key(value: Any) -> Any:
    return ("list", len(value)) if isinstance(value, list) else (type(value), value if _is_plain(value) else None)


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | bool)


def _is_list(type_: GraphQLOutputType) -> bool:
    return is_list_type(type_.of_type if is_non_null_type(type_) else type_)
