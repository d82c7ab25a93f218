"""Large input is read off the event loop: 10,000 reported events take half a second, in which nobody else is served.

Two steps were made on the loop. graphql-core checks each value of the variables against its type; strawberry then makes
the objects that resolvers are given. Here the first step makes the objects as well, and the second passes them on; and
where a request is large, that step is made in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.execution.values import VariableValues, get_variable_values
from graphql.utilities import get_operation_ast
from strawberry.types.base import StrawberryObjectDefinition

from daglens.resolvers.threads import Threads
from daglens.schema.compiled import CompiledExecutionContext

if TYPE_CHECKING:
    from strawberry import Schema
    from strawberry.types import ExecutionContext

LARGE_BYTES: Final = 65_536
"""Of a request: to read the input of a smaller one takes the loop 20 ms at most."""
_MOST_ERRORS: Final = 50  # as graphql-core tells by itself

threads: Final = Threads(2, "daglens-large-input")
"""Of the process. More would keep the event loop from its turn."""


class LargeVariables(dict[str, Any]):
    """Variables of a large request, as they were sent."""


class ReadVariables(dict[str, Any]):
    """Variables as they were sent, with what has been made of them: values, or what is wrong with them."""

    def __init__(self, given: Mapping[str, Any], read: VariableValues | list[GraphQLError]) -> None:
        super().__init__(given)
        self.read = read


def marked(variables: dict[str, Any] | None, size: int) -> dict[str, Any] | None:
    """The variables of a request of so many bytes, marked where that is large."""
    return variables if variables is None or size <= LARGE_BYTES else LargeVariables(variables)


async def read_variables(context: ExecutionContext) -> None:
    """Read the variables of an operation that is valid, where they are large, in a thread."""
    given, document = context.variables, context.graphql_document
    operation = None if document is None else get_operation_ast(document, context.operation_name)
    if not isinstance(given, LargeVariables) or operation is None:
        return
    definitions = operation.variable_definitions or ()
    schema = context.schema._schema

    def read(variables: LargeVariables) -> ReadVariables:
        return ReadVariables(variables, get_variable_values(schema, definitions, variables, max_errors=_MOST_ERRORS))

    context.variables = await threads.carry_out(read, given)


def without_variables(document: DocumentNode, operation: OperationDefinitionNode) -> DocumentNode:
    """The document, with an operation that declares no variables: there is nothing to be read for it."""
    bare = OperationDefinitionNode(
        operation=operation.operation,
        name=operation.name,
        directives=operation.directives,
        selection_set=operation.selection_set,
        loc=operation.loc,
    )
    definitions = tuple(bare if one is operation else one for one in document.definitions)
    return DocumentNode(definitions=definitions, loc=document.loc)


class LargeInputExecutionContext(CompiledExecutionContext):
    """Executes by variables that were read already, where they were."""

    @classmethod
    def build(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        root_value: Any = None,
        context_value: Any = None,
        raw_variable_values: dict[str, Any] | None = None,
        operation_name: str | None = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        """See graphql-core's Executor. Variables that were read already aren't read again."""
        build = super().build
        if not isinstance(raw_variable_values, ReadVariables):
            return build(
                schema, document, root_value, context_value, raw_variable_values, operation_name, *more, **named
            )
        read = raw_variable_values.read
        operation = get_operation_ast(document, operation_name)
        if isinstance(read, list) or operation is None:
            return read
        bare = without_variables(document, operation)
        executor = build(schema, bare, root_value, context_value, None, operation_name, *more, **named)
        if not isinstance(executor, list):
            executor.operation = operation
            executor.variable_values = read
        return executor


# ---------------------------------------------------------------- objects


def make_objects_at_once(schema: Schema) -> None:
    """Have graphql-core make the objects of input types, of values that it has checked, for strawberry to pass on."""
    converter = schema.schema_converter
    registry: dict[object, Any] = dict(converter.scalar_registry)
    for name, kind in schema._schema.type_map.items():
        if isinstance(kind, GraphQLInputObjectType):
            definition = converter.type_map[name].definition
            assert isinstance(definition, StrawberryObjectDefinition)
            kind.out_type = _maker(schema, definition)  # type: ignore[assignment,method-assign]
            # What strawberry takes for a scalar it doesn't go into.
            registry[definition.origin] = None
    converter.scalar_registry = registry


def _maker(schema: Schema, definition: StrawberryObjectDefinition) -> Callable[[dict[str, Any]], Any]:
    """Makes an object of an input type from values by their names in GraphQL."""
    name_of = schema.config.name_converter.from_field
    names = {name_of(field): field.python_name for field in definition.fields}
    make = definition.origin

    def made(values: dict[str, Any]) -> Any:
        # A list may be the default of the schema, which all requests share.
        return make(**{names[key]: [*one] if type(one) is list else one for key, one in values.items()})

    return made
