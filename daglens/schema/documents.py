"""Documents are parsed and validated once: front ends send few, with variables."""

from collections.abc import Iterator
from contextlib import suppress

from graphql import GraphQLError, OperationDefinitionNode
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.types import ExecutionContext

CACHED_DOCUMENTS = 256


class ParsedOnce(ParserCache):
    """Parses each document once. One that is no GraphQL is left to strawberry's own parsing, which tells the error."""

    def __init__(self) -> None:
        super().__init__(maxsize=CACHED_DOCUMENTS)

    def on_parse(self) -> Iterator[None]:
        """Called by strawberry around parsing."""
        context = self.execution_context
        # Raised from here, the error would end a WebSocket's connection instead of one operation on it.
        with suppress(GraphQLError):
            context.graphql_document = self.cached_parse_document(context.query, **context.parse_options)
        yield


class ValidatedOnce(ValidationCache):
    """Validates each document once. What is wrong with it comes as a copy, since errors are masked anew each time."""

    def __init__(self) -> None:
        super().__init__(maxsize=CACHED_DOCUMENTS)

    def on_validate(self) -> Iterator[None]:
        """Called by strawberry around validation."""
        context = self.execution_context
        if context.pre_execution_errors:
            # Refused already: validating takes long for just such documents.
            yield
            return
        found = self.cached_validate_document(
            context.schema._schema, context.graphql_document, context.validation_rules
        )
        context.pre_execution_errors = list(found) or _unnamed(context)
        yield


def _unnamed(context: ExecutionContext) -> list[GraphQLError]:
    """What is wrong with a request for one of several operations that doesn't say which: strawberry takes the first."""
    document = context.graphql_document
    if context._provided_operation_name is not None or document is None:
        return []
    operations = sum(isinstance(definition, OperationDefinitionNode) for definition in document.definitions)
    return [] if operations < 2 else [GraphQLError("The document has several operations: say which by operationName.")]
