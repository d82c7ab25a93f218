"""How the items of one list are written: made once per selection, used for every list that has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from types import NoneType
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLAbstractType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionSetNode,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, GroupedFieldSet, collect_subfields
from graphql.execution.values import VariableValues
from graphql.language import OperationDefinitionNode
from strawberry.types.field import StrawberryField

from daglens.schema.compiled.assembling import assembling
from daglens.schema.compiled.counters import TALLY
from daglens.schema.compiled.leaves import Complete, leaf
from daglens.schema.compiled.rows import Columns, Rows, Surprise, objects_by_type

_BACKREF = "strawberry-definition"
_TYPENAME = "__typename"


class Ineligible(Exception):
    """What is selected can't be written by a plan."""


class Operation(NamedTuple):
    """What plans are made from: the operation that is being executed.

    Plans hold none of it: its variables are a client's, and may be large.
    """

    schema: GraphQLSchema
    fragments: dict[str, FragmentDetails]
    variables: VariableValues
    node: OperationDefinitionNode

    def collect(self, kind: GraphQLObjectType, details: FieldDetailsList) -> GroupedFieldSet:
        """The fields selected of a type, as graphql-core has them: fragments, directives and merging done."""
        found = collect_subfields(self.schema, self.fragments, self.variables, self.node, kind, details)
        if found.new_defer_usages:
            raise Ineligible("deferred")
        return found.grouped_field_set


class ObjectPlan:
    """How objects of one type are written.

    Attributes:
        rest: What graphql-core has to complete (fields with arguments or resolvers), in the order selected. Its keys
            stand in the dictionaries already, with None, so that the order of keys is the selection's.
    """

    __slots__ = ("_assemble", "_steps", "rest")

    def __init__(self, steps: Sequence[tuple[str, _Step]], rest: GroupedFieldSet) -> None:
        self._assemble = assembling([key for key, _ in steps]) if steps else None
        self._steps = [step for _, step in steps]
        self.rest = rest

    def complete(self, columns: Columns) -> list[dict[str, Any]]:
        """The dictionaries of some items of the type."""
        if self._assemble is None:
            return [{} for _ in range(len(columns))]
        return self._assemble([step(columns) for step in self._steps])


_Step = Callable[[Columns], Sequence[Any]]


class Planner:
    """Makes the parts of a plan out of an operation's selection."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def objects(self, kind: GraphQLObjectType, details: FieldDetailsList, *, mixed: bool = False) -> ObjectPlan:
        """How objects of a type are written; `mixed`: nullable fields that a plan can't write become its `rest`.

        Raises:
            Ineligible, Surprise: Some field can't be written by a plan.
        """
        steps: list[tuple[str, _Step]] = []
        rest: GroupedFieldSet = {}
        for key, of_field in self._operation.collect(kind, details).items():
            try:
                steps.append((key, self._step(kind, of_field)))
            except (Ineligible, Surprise):
                field = self._field(kind, of_field)
                if not mixed or is_non_null_type(field.type):
                    raise
                rest[key] = of_field
                steps.append((key, _nothing))
        return ObjectPlan(steps, rest)

    def _step(self, kind: GraphQLObjectType, details: FieldDetailsList) -> _Step:
        if details[0].node.name.value == _TYPENAME:
            return _constant(kind.name)
        field = self._field(kind, details)
        return _attribute(attribute_of(field), self.values(field.type, details))

    def _field(self, kind: GraphQLObjectType, details: FieldDetailsList) -> GraphQLField:
        field = self._operation.schema.get_field(kind, details[0].node.name.value)
        if field is None:
            raise Ineligible("a field that the type doesn't have")
        return field

    def values(self, kind: GraphQLOutputType, details: FieldDetailsList) -> Complete:
        """How values of a type are written.

        Raises:
            Ineligible, Surprise: They can't be written by a plan.
        """
        nullable = not is_non_null_type(kind)
        if isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        if is_list_type(kind):
            assert isinstance(kind, GraphQLList)
            return _nullable(self._lists(kind.of_type, details), nullable)
        if is_leaf_type(kind):
            return leaf(kind, nullable=nullable)
        if is_object_type(kind):
            return _nullable(_objects(self.objects(kind, details), class_of(kind)), nullable)
        # An interface or a union: a value of each type, as it comes. All are planned: the types are few, and no plan
        # has to hold the operation.
        plans = {
            class_of(possible): self.objects(possible, details)
            for possible in self._operation.schema.get_possible_types(_abstract(kind))
        }
        return _nullable(_of_many_types(plans), nullable)

    def _lists(self, item_type: GraphQLOutputType, details: FieldDetailsList) -> Complete:
        """How lists are written, be they lists of Python's or Rows."""
        of_lists = _lists(self.values(item_type, details))
        named = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        origin = getattr((getattr(named, "extensions", None) or {}).get(_BACKREF), "origin", None)
        # Plans hold no operation: what may be needed is made now.
        plans = {
            kind: plan_list(self._operation, item_type, details, kind)
            for kind in Rows.__subclasses__()
            if kind.items is origin
        }
        return _lists_or_rows(of_lists, plans) if plans else of_lists


class ListPlan:
    """How the items of a list are written, as far as a plan can.

    Attributes:
        item_type: The type of all items, where they are objects of one.
        rest: See ObjectPlan; empty without an `item_type`.
    """

    __slots__ = ("_common", "_plans", "_values", "item_type", "rest")

    def __init__(
        self,
        item_type: GraphQLObjectType | None,
        plans: dict[type, ObjectPlan],
        common: ObjectPlan | None,
        values: Complete | None,
        rest: GroupedFieldSet,
    ) -> None:
        self.item_type = item_type
        self._plans = plans
        self._common = common
        self._values = values
        self.rest = rest

    def complete(self, items: Rows[Any] | Sequence[Any]) -> list[Any]:
        """The items as they stand in the answer.

        Raises anything where graphql-core has to complete them.
        """
        if self._values is not None:
            assert not isinstance(items, Rows)
            return list(self._values(items))
        if not isinstance(items, Rows):
            return _joined(len(items), self._plans, objects_by_type(items))
        if self._common is not None:
            return self._common.complete(items.columns())
        return _joined(len(items), self._plans, items.by_type())


def plan_list(operation: Operation, item_type: GraphQLOutputType, details: FieldDetailsList, source: type) -> ListPlan:
    """A plan for lists of an item type that come as `source` (`list`, or a class of Rows).

    Raises:
        Ineligible, Surprise: There is none.
    """
    planner = Planner(operation)
    named = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
    if is_list_type(named):
        raise Ineligible("lists of lists")
    if is_leaf_type(named):
        if source is not list:
            raise Ineligible("rows of leaves")
        return ListPlan(None, {}, None, planner.values(item_type, details), {})
    if is_object_type(named):
        plan = planner.objects(named, details, mixed=True)
        common = plan if source is not list else None
        return ListPlan(named, {class_of(named): plan}, common, None, plan.rest)
    abstract = _abstract(named)
    possible = operation.schema.get_possible_types(abstract)
    if source is not list and _is_same_for_all(operation, abstract, details, source):
        return ListPlan(None, {}, planner.objects(possible[0], details), None, {})
    return ListPlan(None, {class_of(kind): planner.objects(kind, details) for kind in possible}, None, None, {})


def plan_one(operation: Operation, kind: GraphQLOutputType, details: FieldDetailsList, source: type) -> ListPlan:
    """A plan for single objects of a type, with all that is selected of them; as a list of one.

    Raises:
        Ineligible, Surprise: There is none.
    """
    return ListPlan(None, {}, None, Planner(operation).values(kind, details), {})


def attribute_of(field: GraphQLField) -> str:
    """The attribute that a field shows.

    Raises:
        Ineligible: It has arguments, a resolver, permissions or extensions.
    """
    definition = (field.extensions or {}).get(_BACKREF)
    if (
        type(definition) is not StrawberryField
        or not definition.is_basic_field
        or definition.permission_classes
        or field.args
        or not getattr(field.resolve, "_is_default", False)
        or getattr(definition.default_resolver, "__name__", "") != "getattr"
    ):
        raise Ineligible("no plain attribute")
    return definition.python_name


def class_of(kind: GraphQLObjectType) -> type:
    """The Python class whose objects are of a type."""
    definition = (kind.extensions or {}).get(_BACKREF)
    origin = getattr(definition, "origin", None)
    if not isinstance(origin, type):
        raise Ineligible(f"{kind.name} has no class")
    return origin


def _abstract(kind: GraphQLOutputType) -> GraphQLAbstractType:
    assert is_abstract_type(kind)
    return kind


def _is_same_for_all(
    operation: Operation, abstract: GraphQLAbstractType, details: FieldDetailsList, source: type[Rows[Any]]
) -> bool:
    """Whether items are written alike whatever their types, so that nobody has to find out which they are."""
    names: set[str] = set()
    for detail in details:
        if detail.node.selection_set is not None and not _fields_of(
            operation, abstract.name, detail.node.selection_set, names, set()
        ):
            return False
    kinds = operation.schema.get_possible_types(abstract)
    for name in names:
        fields = [operation.schema.get_field(kind, name) for kind in kinds]
        if any(field is None or attribute_of(field) not in source.common for field in fields):
            return False
        if len({str(field.type) for field in fields if field is not None}) > 1:
            return False
    return True


def _fields_of(
    operation: Operation, name: str, selections: SelectionSetNode, names: set[str], visited: set[str]
) -> bool:
    """Add the fields selected to `names`; False where a type makes a difference. Directives are not looked at."""
    for node in selections.selections:
        if isinstance(node, FieldNode):
            if node.name.value == _TYPENAME:
                return False
            names.add(node.name.value)
            continue
        if isinstance(node, InlineFragmentNode):
            condition, inner = node.type_condition, node.selection_set
        elif isinstance(node, FragmentSpreadNode):
            if node.name.value in visited:
                continue
            visited.add(node.name.value)
            fragment = operation.fragments[node.name.value].definition
            condition, inner = fragment.type_condition, fragment.selection_set
        if condition is not None and condition.name.value != name:
            return False
        if not _fields_of(operation, name, inner, names, visited):
            return False
    return True


# ---------------------------------------------------------------- steps


def _nothing(columns: Columns) -> Sequence[Any]:
    return [None] * len(columns)


def _constant(text: str) -> _Step:
    return lambda columns: [text] * len(columns)


def _attribute(name: str, complete: Complete) -> _Step:
    return lambda columns: complete(columns.column(name))


def _nullable(complete: Complete, nullable: bool) -> Complete:
    """With None for what is None; `complete` itself takes none."""
    if not nullable:
        return complete

    def with_null(values: Sequence[Any]) -> Sequence[Any]:
        if NoneType not in set(map(type, values)):
            return complete(values)
        written = iter(complete([value for value in values if value is not None]))
        return [None if value is None else next(written) for value in values]

    return with_null


def _lists(complete: Complete) -> Complete:
    """Lists of values: written as one column, and cut to lists again."""

    def lists(values: Sequence[Any]) -> Sequence[Any]:
        if not set(map(type, values)) <= {list, tuple}:
            raise Surprise("no list")
        written: Iterator[Any] = iter(complete(list(chain.from_iterable(values))))
        return [list(islice(written, len(value))) for value in values]

    return lists


def _lists_or_rows(of_lists: Complete, plans: dict[type[Rows[Any]], ListPlan]) -> Complete:
    def written(value: Any) -> Sequence[Any]:
        plan = plans.get(type(value))
        if plan is None:
            return of_lists([value])[0]  # type: ignore[no-any-return]
        if not value:
            return []
        if not value.within_items:
            TALLY.fast += 1
        return plan.complete(value)

    def lists(values: Sequence[Any]) -> Sequence[Any]:
        kinds = set(map(type, values))
        if len(values) > 1 and len(kinds) == 1 and (kind := kinds.pop()) in plans and kind.within_items:
            joined = iter(written(kind.joined(values)))
            return [list(islice(joined, len(value))) for value in values]
        return [written(value) for value in values] if len(values) == 1 else of_lists(values)

    return lists


def _objects(plan: ObjectPlan, kind: type) -> Complete:
    return _of_many_types({kind: plan})


def _of_many_types(plans: dict[type, ObjectPlan]) -> Complete:
    def objects(values: Sequence[Any]) -> Sequence[Any]:
        return _joined(len(values), plans, objects_by_type(values))

    return objects


def _joined(
    count: int, plans: dict[type, ObjectPlan], by_type: Sequence[tuple[type, Sequence[int] | None, Columns]]
) -> list[Any]:
    """The items of several types in their places."""
    joined: list[Any] = [None] * count
    for kind, places, columns in by_type:
        plan = plans.get(kind)
        if plan is None:
            raise Surprise(kind)
        written = plan.complete(columns)
        if places is None:
            return written
        for place, item in zip(places, written, strict=True):
            joined[place] = item
    return joined
