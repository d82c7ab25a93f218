"""Mistakes that plans could have, each put in for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from graphql import REMOVE, DirectiveNode, visit
from graphql.execution.values import get_variable_values
from graphql.language.visitor import Visitor

from daglens.schema import event_objects, known_operations, run_objects
from daglens.schema.compiled import execution_context, leaves, plan, plan_cache
from daglens.schema.compiled.rows import Surprise
from daglens.schema.event_objects import EventRows
from daglens.schema.run_objects import TagRows

Fault = Callable[[pytest.MonkeyPatch], None]


def key_without_variables(patch: pytest.MonkeyPatch) -> None:
    """A plan made with `$b0: true` serves `$b0: false` too."""
    patch.setattr(plan_cache.Selection, "values", lambda self, variables: ())


def key_without_nodes(patch: pytest.MonkeyPatch) -> None:
    """One plan serves whatever is selected of a type."""
    sound = plan_cache.PlanCache.selection

    def selection(self: Any, item_type: Any, source: Any, details: Any, fragments: Any) -> Any:
        kept = self.__dict__.setdefault("kept", {})
        key = (item_type, source)
        if key not in kept:
            kept[key] = sound(self, item_type, source, details, fragments)
        return kept[key]

    patch.setattr(plan_cache.PlanCache, "selection", selection)


def nodes_not_held(patch: pytest.MonkeyPatch) -> None:
    """Plans are found by the ids of nodes that may be others' by now."""
    patch.setattr(plan_cache, "id", lambda node: hash(getattr(node, "kind", node)), raising=False)


def first_node_only(patch: pytest.MonkeyPatch) -> None:
    """Fields that stand there twice aren't merged."""
    _collecting(patch, lambda found: {key: details[:1] for key, details in found.items()})


def keys_sorted(patch: pytest.MonkeyPatch) -> None:
    """Keys come in another order than they were selected in."""
    _collecting(patch, lambda found: dict(sorted(found.items())))


def directives_dropped(patch: pytest.MonkeyPatch) -> None:
    """`@skip` and `@include` are not heeded."""

    class WithoutDirectives(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
            return REMOVE

    sound = plan.Operation.collect

    def collect(self: Any, kind: Any, details: Any) -> Any:
        bare = [detail._replace(node=visit(detail.node, WithoutDirectives())) for detail in details]
        fragments = {
            name: fragment._replace(definition=visit(fragment.definition, WithoutDirectives()))
            for name, fragment in self.fragments.items()
        }
        return sound(self._replace(fragments=fragments), kind, bare)

    patch.setattr(plan.Operation, "collect", collect)


def types_taken_for_the_same(patch: pytest.MonkeyPatch) -> None:
    """Type conditions and `__typename` are taken to be the same for all events."""
    patch.setattr(plan, "_is_same_for_all", lambda operation, abstract, details, source: True)


def conditions_overlooked(patch: pytest.MonkeyPatch) -> None:
    """Only `__typename` is taken to tell events apart."""

    def fields_of(operation: Any, name: str, selections: Any, names: set[str], visited: Any) -> bool:
        return "__typename" not in str(selections.to_dict())

    patch.setattr(plan, "_fields_of", fields_of)


def places_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Items of several types come type by type."""
    sound = plan._joined

    def joined(count: int, plans: Any, by_type: Any) -> Any:
        return [item for kind, _, columns in by_type for item in sound(len(columns), plans, [(kind, None, columns)])]

    patch.setattr(plan, "_joined", joined)


def values_of_others(patch: pytest.MonkeyPatch) -> None:
    """What an event holds beyond the fields of all events is that of another."""
    patch.setattr(event_objects._EventColumns, "_of_these", lambda self, column: column[: len(self)])


def tags_of_others(patch: pytest.MonkeyPatch) -> None:
    """Tags of several runs, written as one list, go to other runs."""
    sound = TagRows.joined
    patch.setattr(TagRows, "joined", lambda parts: sound(parts[::-1]))


def tags_cut_alike(patch: pytest.MonkeyPatch) -> None:
    """Tags of several runs, written as one list, are cut as if each run had as many as the first."""
    sound = plan._lists_or_rows

    def lists_or_rows(of_lists: Any, plans: Any) -> Any:
        def lists(values: Sequence[Any]) -> Any:
            written = sound(of_lists, plans)(values)
            return [one[: len(written[0])] for one in written] if TagRows in plans else written

        return lists

    patch.setattr(plan, "_lists_or_rows", lists_or_rows)


def another_column(patch: pytest.MonkeyPatch) -> None:
    """A field of runs that is written as stored shows another column."""
    patch.setitem(run_objects._AS_STORED, "created_at", "updated_at_us")


def any_text(patch: pytest.MonkeyPatch) -> None:
    """Texts are not looked at: whatever stands there goes out."""
    _unchecked(patch, str)


def null_anywhere(patch: pytest.MonkeyPatch) -> None:
    """A field that is never null is."""
    sound = leaves._checked
    patch.setattr(leaves, "_checked", lambda kind, nullable, write: sound(kind, True, write))


def large_integers(patch: pytest.MonkeyPatch) -> None:
    """An Int has more than 32 bits."""
    patch.setattr(leaves, "_ints", lambda values: values)


def any_float(patch: pytest.MonkeyPatch) -> None:
    """A Float is NaN."""
    patch.setattr(leaves, "_floats", lambda values: values)


def subclasses_pass(patch: pytest.MonkeyPatch) -> None:
    """A value of a subclass passes: a truth value for an Int."""

    def checked(kind: type, nullable: bool, write: Any) -> Any:
        def complete(values: Sequence[Any]) -> Any:
            if not all(isinstance(value, kind) or (nullable and value is None) for value in values):
                raise Surprise
            present = [value for value in values if value is not None]
            written = iter(write(present) if write is not None and present else present)
            return [None if value is None else next(written) for value in values]

        return complete

    patch.setattr(leaves, "_checked", checked)


def objects_of_any_class(patch: pytest.MonkeyPatch) -> None:
    """What stands in a list isn't looked at: anything with the attributes is taken."""
    sound = plan._joined

    def joined(count: int, plans: Any, by_type: Any) -> Any:
        return sound(count, {kind: next(iter(plans.values())) for kind, _, _ in by_type}, by_type)

    patch.setattr(plan, "_joined", joined)


def type_by_name_alone(patch: pytest.MonkeyPatch) -> None:
    """An event is of the type it says, whatever its data holds."""
    sound = EventRows.by_type

    def by_type(self: Any) -> Any:
        return [part for part in sound(self) if part[0].__name__ != "UnknownEvent"]

    patch.setattr(EventRows, "by_type", by_type)


def rest_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """Fields that graphql-core completes come behind the others."""
    sound = execution_context.CompiledExecutionContext._with_rest

    def with_rest(self: Any, plan: Any, path: Any, items: Any, completed: Any) -> Any:
        for item in completed:
            for key in plan.rest:
                del item[key]
        return sound(self, plan, path, items, completed)

    patch.setattr(execution_context.CompiledExecutionContext, "_with_rest", with_rest)


def surprise_ends_the_list(patch: pytest.MonkeyPatch) -> None:
    """A surprise leaves out the items instead of handing them to graphql-core."""
    sound = plan.ListPlan.complete

    def complete(self: Any, items: Any) -> Any:
        try:
            return sound(self, items)
        except Exception:
            return []

    patch.setattr(plan.ListPlan, "complete", complete)


def spoilt_objects_left_out(patch: pytest.MonkeyPatch) -> None:
    """An object with a surprise in it is null, as if graphql-core had nothing to say of it."""
    sound = execution_context.CompiledExecutionContext._whole
    patch.setattr(execution_context.CompiledExecutionContext, "_whole", lambda self, *given: sound(self, *given) or {})


def variables_of_the_first_time(patch: pytest.MonkeyPatch) -> None:
    """A query that comes again is executed with the variables it came with before."""
    kept: dict[int, Any] = {}

    def values(schema: Any, definitions: Any, *given: Any, **named: Any) -> Any:
        return kept.setdefault(id(definitions), get_variable_values(schema, definitions, *given, **named))

    patch.setattr("daglens.schema.known_operations.get_variable_values", values)


def fragments_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A query that comes again has none of its fragments."""
    sound = known_operations.KnownOperations.find
    patch.setattr(
        known_operations.KnownOperations,
        "find",
        lambda self, *key: None if (known := sound(self, *key)) is None else known._replace(fragments={}),
    )


@dataclass(frozen=True)
class Focus:
    """Where a fault shows, so that it isn't long looked for; anywhere when empty.

    Attributes:
        roots: Root fields of random queries.
        document: The query itself.
        spoilt: What stands in the place of other values.
    """

    roots: tuple[str, ...] = ()
    document: str = ""
    spoilt: tuple[Any, ...] = ()


_SKIPPING = "query Random($b0: Boolean!) { events { seq message @skip(if: $b0) } }"

FAULTS: list[tuple[Fault, Focus]] = [
    (key_without_variables, Focus(document=_SKIPPING)),
    (key_without_nodes, Focus()),
    (nodes_not_held, Focus()),
    (first_node_only, Focus(document="query Random { steps { attemptSpans { attempt } attemptSpans { status } } }")),
    (keys_sorted, Focus()),
    (directives_dropped, Focus()),
    (types_taken_for_the_same, Focus(("events",))),
    (conditions_overlooked, Focus(document="query Random { events { seq ... on UnknownEvent { data } } }")),
    (places_forgotten, Focus(document="query Random { events { seq ... on UnknownEvent { data } } }")),
    (values_of_others, Focus(("events",))),
    (tags_of_others, Focus(document="query Random { runs { tags { key value } } }")),
    (tags_cut_alike, Focus(document="query Random { runPage { nodes { tags { key } } } }")),
    (another_column, Focus(("runs", "runPage"))),
    (any_text, Focus(("steps",), spoilt=(7,))),
    (null_anywhere, Focus(("steps",), spoilt=(None,))),
    (large_integers, Focus(("steps",), spoilt=(2**31,))),
    (any_float, Focus(document="query Random { steps { durationSeconds } }", spoilt=(float("nan"),))),
    (subclasses_pass, Focus(("steps",), spoilt=(True,))),
    (objects_of_any_class, Focus()),
    (type_by_name_alone, Focus(("events",))),
    (rest_at_the_end, Focus(("runs",), spoilt=(None,))),
    (surprise_ends_the_list, Focus()),
    (variables_of_the_first_time, Focus(document=_SKIPPING)),
    (fragments_forgotten, Focus()),
    (spoilt_objects_left_out, Focus(("run", "runOrError", "runPage"))),
]


def _collecting(patch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    sound = plan.Operation.collect
    patch.setattr(plan.Operation, "collect", lambda self, kind, details: change(sound(self, kind, details)))


def _unchecked(patch: pytest.MonkeyPatch, of: type) -> None:
    sound = leaves._checked

    def checked(kind: type, nullable: bool, write: Any) -> Any:
        return (lambda values: values) if kind is of else sound(kind, nullable, write)

    patch.setattr(leaves, "_checked", checked)
