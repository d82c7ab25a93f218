"""Queries that come again: what is the same each time isn't done again.

Strawberry takes each operation through parsing, choosing, validation and the hooks around these, and graphql-core
gathers its fragments anew. Of an operation that has passed all this, only variables, cost and execution differ from one
time to the next. That is a quarter of what a small query costs (benchmarks/over_http.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple, cast

import strawberry
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql import ExecutionResult as GraphQLExecutionResult
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.values import VariableValues, get_variable_values
from graphql.utilities import get_operation_ast
from strawberry.execution import optimized_is_awaitable
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from daglens.schema.compiled import CompiledExecutionContext
from daglens.schema.documents import CACHED_DOCUMENTS, ParsedOnce, ValidatedOnce, is_cached
from daglens.schema.hooks import HooksRunner
from daglens.schema.limits.extensions import ShapeLimits, WorkLimits

_BEFORE_EXECUTION = (ParsedOnce, ShapeLimits, ValidatedOnce)


class KnownOperation(NamedTuple):
    """A query that is valid and within the limits on its shape."""

    document: DocumentNode
    operation: OperationDefinitionNode
    fragment_definitions: dict[str, FragmentDefinitionNode]
    fragments: dict[str, FragmentDetails]


class KnownOperations:
    """The latest queries of one schema, by their text and the name that was asked for."""

    def __init__(self, most: int = CACHED_DOCUMENTS) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str | None, str | None], KnownOperation] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, query: str | None, name: str | None) -> KnownOperation | None:
        """The operation that was noted by these."""
        key = query, name
        known = self._known.get(key)
        if known is not None:
            # Servers in several threads may have dropped it meanwhile.
            with suppress(KeyError):
                self._known.move_to_end(key)
        return known

    def note(self, context: ExecutionContext) -> None:
        """Note an operation that is about to be executed: it has passed all checks."""
        document = context.graphql_document
        key = context.query, context._provided_operation_name
        if (
            key in self._known
            or document is None
            or not is_cached(context.query)
            or context.operation_type is not OperationType.QUERY
        ):
            return
        operation = get_operation_ast(document, context.operation_name)
        definitions = [part for part in document.definitions if isinstance(part, FragmentDefinitionNode)]
        if operation is None or any(definition.variable_definitions for definition in definitions):
            return
        fragments = {definition.name.value: definition for definition in definitions}
        details = {name: FragmentDetails(definition, None) for name, definition in fragments.items()}
        self._known[key] = KnownOperation(document, operation, fragments, details)
        if len(self._known) > self._most:
            with suppress(KeyError):
                self._known.popitem(last=False)


class RepeatingSchema(strawberry.Schema):
    """Executes known queries the short way. What a client sees is the same: errors, hooks, limits, order of keys."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        made = [(make, make()) for make in self.extensions]
        # One that stands before each resolver has to be asked for each: then nothing is known.
        self.known_operations = KnownOperations(
            0 if any(one._implements_resolve() for _, one in made) else CACHED_DOCUMENTS
        )
        self._during_execution = [make for make, one in made if not isinstance(one, _BEFORE_EXECUTION)]

    def create_extensions_runner(
        self, execution_context: ExecutionContext, extensions: list[SchemaExtension]
    ) -> HooksRunner:
        """See strawberry."""
        return HooksRunner(execution_context, extensions, on_valid=self.known_operations.note)

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """See strawberry."""
        known = self.known_operations.find(query, operation_name)
        if (
            known is not None
            and root_value is None
            and not operation_extensions
            and (variable_values is None or type(variable_values) is dict)
            and (allowed_operation_types is None or OperationType.QUERY in allowed_operation_types)
        ):
            context = ExecutionContext(
                query=query,
                schema=self,
                allowed_operations=(OperationType.QUERY,),
                context=context_value,
                variables=variable_values,
                provided_operation_name=operation_name,
            )
            result = await self._execute_known(known, context)
            if result is not None:
                return result
        return await super().execute(
            query,
            variable_values,
            context_value,
            root_value,
            operation_name,
            allowed_operation_types,
            operation_extensions,
        )

    async def _execute_known(self, known: KnownOperation, context: ExecutionContext) -> ExecutionResult | None:
        """The result; None, with nothing begun, where the long way has something to say of it."""
        values = get_variable_values(
            self._schema, known.operation.variable_definitions or (), context.variables or {}, max_errors=1
        )
        if isinstance(values, list):
            return None
        context.graphql_document = known.document
        # What only looks at documents has done so.
        extensions: list[SchemaExtension] = [make() for make in self._during_execution]
        for extension in extensions:
            extension.execution_context = context
            if isinstance(extension, WorkLimits):
                extension.check_cost()
        if context.pre_execution_errors:
            return None
        runner = self.create_extensions_runner(context, extensions)
        try:
            async with runner.operation(), runner.executing():
                result = context.result = await self._run(known, values, context)
                if result.errors:
                    context.pre_execution_errors = result.errors
                    self._process_errors(result.errors, context)
        except Exception as error:
            # Of a hook: the operation has taken too long.
            told = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
            return await self._handle_execution_result(context, PreExecutionError(data=None, errors=[told]), runner)
        return await self._handle_execution_result(context, result, runner, skip_process_errors=True)

    async def _run(
        self, known: KnownOperation, values: VariableValues, context: ExecutionContext
    ) -> GraphQLExecutionResult:
        kind = self.execution_context_class or CompiledExecutionContext
        executor = kind(
            self._schema,
            known.fragment_definitions,
            known.fragments,
            None,
            context.context,
            known.operation,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=cast(Any, optimized_is_awaitable),
        )
        result: Any = executor.execute_operation()
        done: GraphQLExecutionResult = await result if optimized_is_awaitable(result) else result
        return done
