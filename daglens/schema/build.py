"""Joins the types to the schema that is served."""

from collections.abc import Callable, Iterable
from typing import Any

from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext, get_object_definition
from strawberry.types.execution import PreExecutionError

from daglens.config.settings import Limits
from daglens.resolvers.context import RequestContext
from daglens.schema.documents import ParsedOnce, ValidatedOnce
from daglens.schema.errors import HANDLERS
from daglens.schema.event_objects import EVENT_TYPES
from daglens.schema.known_operations import RepeatingSchema
from daglens.schema.large_input import (
    LargeInputExecutionContext,
    LargeVariables,
    make_objects_at_once,
    read_variables,
)
from daglens.schema.limits import limit_extensions
from daglens.schema.masking import Cleaner, masked
from daglens.schema.metadata import METADATA_TYPES
from daglens.schema.mutation import Mutation
from daglens.schema.mutation_errors import HANDLERS as MUTATION_HANDLERS
from daglens.schema.mutation_rules import rule_of
from daglens.schema.query import Query
from daglens.schema.scalars import SCALARS
from daglens.schema.subscription import Subscription

Extension = type[SchemaExtension] | Callable[[], SchemaExtension]


class DaglensSchema(RepeatingSchema):
    """A schema whose `errors[]` say what a client may know."""

    async def _prepare_operation_async(
        self, context: ExecutionContext, extensions_runner: SchemaExtensionsRunner
    ) -> PreExecutionError | None:
        problem = await super()._prepare_operation_async(context, extensions_runner)
        if problem is None and type(context.variables) is LargeVariables:
            await read_variables(context)
        return problem

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Put masked errors in the place of those that were met, before anybody sees them."""
        context = execution_context.context if execution_context is not None else None
        errors[:] = masked(errors, Cleaner(getattr(context, "instance", None)))
        if isinstance(context, RequestContext):
            for told in map(_extensions_of, errors):
                context.calls.observer.error(told["code"], told["errorId"])


def _extensions_of(error: GraphQLError) -> dict[str, Any]:
    return error.extensions or {}


def build_schema(
    *, read_only: bool = False, limits: Limits | None = None, extensions: Iterable[Extension] = ()
) -> DaglensSchema:
    """The schema; `read_only` leaves the mutations out. `extensions` (measurements) run beside our own.

    An operation's context value is a `RequestContext`.
    """
    for field in get_object_definition(Mutation, strict=True).fields:
        rule_of(field)
    before, behind = limit_extensions(limits or Limits())
    schema = DaglensSchema(
        query=Query,
        mutation=None if read_only else Mutation,
        subscription=Subscription,
        types=[*EVENT_TYPES, *METADATA_TYPES],
        execution_context_class=LargeInputExecutionContext,
        config=StrawberryConfig(scalar_map=SCALARS),
        exception_handlers=(*HANDLERS, *MUTATION_HANDLERS),
        extensions=[ParsedOnce, before, ValidatedOnce, behind, *extensions],
    )
    make_objects_at_once(schema)
    return schema
