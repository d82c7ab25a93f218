"""Joins the types to the schema that is served."""

from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from daglens.schema.errors import HANDLERS
from daglens.schema.event_objects import EVENT_TYPES
from daglens.schema.masking import Cleaner, masked
from daglens.schema.metadata import METADATA_TYPES
from daglens.schema.mutation import Mutation
from daglens.schema.query import Query
from daglens.schema.scalars import SCALARS
from daglens.schema.subscription import Subscription

CACHED_DOCUMENTS = 256
"""Documents whose parsing and validation is kept; front ends send few, with variables."""


class DocumentCache(ValidationCache):
    """Validates each document once.

    What is wrong with it comes as a copy: each answer's errors have ids of their own.
    """

    def on_validate(self) -> Iterator[None]:
        """Called by strawberry around validation."""
        context = self.execution_context
        found = self.cached_validate_document(
            context.schema._schema, context.graphql_document, context.validation_rules
        )
        context.pre_execution_errors = list(found)
        yield


class DaglensSchema(strawberry.Schema):
    """A schema whose `errors[]` say what a client may know."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Put masked errors in the place of those that were met, before anybody sees them."""
        context = execution_context.context if execution_context is not None else None
        errors[:] = masked(errors, Cleaner(getattr(context, "instance", None)))


def build_schema(*, read_only: bool = False, **options: Any) -> DaglensSchema:
    """The schema; `read_only` leaves the mutations out.

    `options` go to strawberry.Schema (extensions are added to ours).
    """
    return DaglensSchema(
        query=Query,
        mutation=None if read_only else Mutation,
        subscription=Subscription,
        types=[*EVENT_TYPES, *METADATA_TYPES],
        config=StrawberryConfig(scalar_map=SCALARS),
        exception_handlers=HANDLERS,
        extensions=[
            lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
            lambda: DocumentCache(maxsize=CACHED_DOCUMENTS),
            *options.pop("extensions", ()),
        ],
        **options,
    )
