"""Where an operation is held to its limits: the same for every transport, since all of them come through the schema."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from typing import Any, Final, TypeVar

from graphql import DocumentNode, GraphQLError
from graphql.utilities import get_operation_ast
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext
from strawberry.types.graphql import OperationType

from daglens.config.settings import Limits
from daglens.schema.documents import is_cached
from daglens.schema.limits.cost import OperationCost
from daglens.schema.limits.errors import OperationTimeout, limit_error
from daglens.schema.limits.shape import MOST_NESTING, Shape, shape_of

T = TypeVar("T")

KEPT_DOCUMENTS: Final = 256


def limit_extensions(limits: Limits) -> tuple[Callable[[], SchemaExtension], Callable[[], SchemaExtension]]:
    """Extensions of a schema: one to stand before validation, one behind it."""
    shapes: _Known[Shape] = _Known()
    costs: _Known[OperationCost] = _Known()
    return (lambda: ShapeLimits(limits, shapes)), (lambda: WorkLimits(limits, costs))


class _Known(OrderedDict[Hashable, tuple[DocumentNode, T]]):
    """What is known of the latest documents. Each is held, so that its id is nobody else's."""

    def of(self, context: ExecutionContext, make: Callable[[], T], *more: Hashable) -> T:
        """What is known of the operation's document, made out now if it is not known yet."""
        document = context.graphql_document
        assert document is not None
        if not is_cached(context.query):
            return make()
        key = (id(document), *more)
        found = self.get(key)
        if found is not None:
            self.move_to_end(key)
            return found[1]
        made = make()
        self[key] = document, made
        if len(self) > KEPT_DOCUMENTS:
            self.popitem(last=False)
        return made


class ShapeLimits(SchemaExtension):
    """Refuses documents that are too long, too deep or too wide: before they are validated."""

    def __init__(self, limits: Limits, known: _Known[Shape]) -> None:
        self._limits = limits
        self._known = known

    def on_operation(self) -> Iterator[None]:
        """Called by strawberry around the operation."""
        if self._limits.max_tokens:
            self.execution_context.parse_options["max_tokens"] = self._limits.max_tokens
        yield

    def on_validate(self) -> Iterator[None]:
        """Called by strawberry around validation."""
        document = self.execution_context.graphql_document
        if document is not None:
            self.execution_context.pre_execution_errors = self._errors(document) or None
        yield

    def _errors(self, document: DocumentNode) -> list[GraphQLError]:
        def measured() -> Shape:
            try:
                return shape_of(document)
            except RecursionError:
                return Shape(nesting=MOST_NESTING + 1)

        return list(shape_errors(self._known.of(self.execution_context, measured), self._limits))


def shape_errors(shape: Shape, limits: Limits) -> Iterator[GraphQLError]:
    """What is too much about a document; errors are made anew each time, since each is given an id."""
    if limits.max_depth and shape.depth > limits.max_depth:
        yield limit_error(
            f"The document has fields in fields {shape.depth} deep; {limits.max_depth} are allowed (max_depth). Ask "
            "for what is further down in an operation of its own.",
            code="TOO_DEEP",
            limit=limits.max_depth,
            found=shape.depth,
        )
    elif shape.nesting > MOST_NESTING:
        yield limit_error(
            f"The document has fragments or fields in each other more than {MOST_NESTING} deep. Write it flatter.",
            code="TOO_DEEP",
            limit=MOST_NESTING,
        )
    if limits.max_aliases and shape.aliases > limits.max_aliases:
        yield limit_error(
            f"The document selects {shape.aliases} fields by an alias or twice; {limits.max_aliases} are allowed "
            "(max_aliases). Ask in several documents, or for a list in place of many aliases.",
            code="TOO_MANY_ALIASES",
            limit=limits.max_aliases,
            found=shape.aliases,
        )
    if limits.max_root_fields and shape.fields > limits.max_root_fields:
        yield limit_error(
            f"The operation has {shape.fields} fields at its top; {limits.max_root_fields} are allowed "
            "(max_root_fields). Ask in several operations.",
            code="TOO_MANY_ROOT_FIELDS",
            limit=limits.max_root_fields,
            found=shape.fields,
        )


class WorkLimits(SchemaExtension):
    """Refuses operations that ask for too many rows, tells the cost to whoever asks, and ends what takes too long."""

    def __init__(self, limits: Limits, known: _Known[OperationCost]) -> None:
        self._limits = limits
        self._known = known
        self._points: int | None = None

    def on_validate(self) -> Iterator[None]:
        """Called by strawberry around validation."""
        self.check_cost()
        yield

    def check_cost(self) -> None:
        """Refuse the operation, by an error in its context, when it costs more than is allowed."""
        context = self.execution_context
        if not context.pre_execution_errors and (self._limits.max_cost or self._is_asked()):
            self._points = self._cost(context)
            if self._points is not None and 0 < self._limits.max_cost < self._points:
                context.pre_execution_errors = [
                    limit_error(
                        f"The operation may read {self._points:,} rows (its cost); {self._limits.max_cost:,} are "
                        "allowed. Ask for smaller pages, or for less of each row.",
                        code="TOO_COSTLY",
                        limit=self._limits.max_cost,
                        found=self._points,
                    )
                ]

    async def on_execute(self) -> AsyncIterator[None]:
        """Called by strawberry around the execution; of a subscription, around its beginning."""
        seconds = self._limits.max_operation_s
        if not seconds or self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            yield
            return
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            is_change = self.execution_context.operation_type is OperationType.MUTATION
            hint = "What it changes may have been stored all the same." if is_change else "Ask for less at once."
            raise OperationTimeout(f"That is {seconds:g} s. {hint}") from None

    def get_results(self) -> dict[str, Any]:
        """`extensions` of the result: the cost, where the request asks for it by `extensions: {cost: true}`."""
        if self._points is None or not self._is_asked():
            return {}
        return {"cost": {"requested": self._points, "limit": self._limits.max_cost or None}}

    def _is_asked(self) -> bool:
        return (self.execution_context.operation_extensions or {}).get("cost") is True

    def _cost(self, context: ExecutionContext) -> int | None:
        document = context.graphql_document
        operation = None if document is None else get_operation_ast(document, context.operation_name)
        if document is None or operation is None:
            return None
        schema = context.schema._schema

        def made() -> OperationCost:
            return OperationCost(schema, document, operation)

        return self._known.of(context, made, operation.name.value if operation.name else None).points(
            context.variables or {}
        )
