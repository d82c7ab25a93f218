"""Documents are parsed and validated once: front ends send few, with variables."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    parse,
    validate,
)
from strawberry.extensions import ParserCache, SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types import ExecutionContext

CACHED_DOCUMENTS = 256
MOST_CACHED_CHARS = 50_000
"""Of a document. Its comments and strings are held with it, and may be as long as a request: those of 256 that are 16
MiB each would take all memory there is. What holds documents looks at this first, wherever it is."""

MOST_ERRORS = 5
"""That are told of one document, of which hundreds may have been made. To say where each stands, graphql-core goes
through the document once or twice."""
_MOST_WITH_SUGGESTIONS = 3
"""Errors of a document for which names are looked for that may have been meant: a millisecond or two for each."""


def is_cached(text: str | None) -> bool:
    """Whether anything may be kept of a document beyond the operation it came for."""
    return text is not None and len(text) <= MOST_CACHED_CHARS


def parsed(text: str, max_tokens: int) -> DocumentNode:
    """A document as operations are executed by it: of a usual length it is parsed once. `max_tokens` 0: any number.

    Raises:
        GraphQLError, RecursionError: It is no GraphQL, or has more tokens.
    """
    # By the same arguments as ParsedOnce, so that it is the same one.
    options: dict[str, Any] = {"max_tokens": max_tokens} if max_tokens else {}
    known: Callable[..., DocumentNode] = ParsedOnce().cached_parse_document
    return known(text, **options) if is_cached(text) else parse(text, **options)


class ParsedOnce(ParserCache):
    """Parses each document once. One that is no GraphQL, or too long to be kept, is left to strawberry's own way."""

    def __init__(self) -> None:
        super().__init__(maxsize=CACHED_DOCUMENTS)

    def on_parse(self) -> Iterator[None]:
        """Called by strawberry around parsing."""
        context = self.execution_context
        if is_cached(context.query):
            # Raised from here, the error would end a WebSocket's connection instead of one operation on it.
            with suppress(GraphQLError):
                context.graphql_document = self.cached_parse_document(context.query, **context.parse_options)
        yield


class ValidatedOnce(SchemaExtension):
    """Validates each document once. What is wrong with it comes as a copy, since errors are masked anew each time.

    Documents are told apart by identity (ParsedOnce gives the same one again): strawberry's ValidationCache compares
    them, and to hash all nodes of one took longer than to execute it.
    """

    # Schema and document are held, so that their ids are nobody else's.
    _known: ClassVar[OrderedDict[Hashable, tuple[Any, Any, Sequence[GraphQLError]]]] = OrderedDict()

    def on_validate(self) -> Iterator[None]:
        """Called by strawberry around validation."""
        context = self.execution_context
        if context.pre_execution_errors:
            # Refused already: validating takes long for just such documents.
            yield
            return
        context.pre_execution_errors = list(self._errors(context)) or _unnamed(context)
        yield

    def _errors(self, context: ExecutionContext) -> Sequence[GraphQLError]:
        schema, document, rules = context.schema._schema, context.graphql_document, context.validation_rules
        assert document is not None
        if not is_cached(context.query):
            return validated(schema, document, rules)
        key = id(schema), id(document), rules
        # Taken out and put back, to be the latest: servers in several threads may do so at once.
        found = self._known.pop(key, None) or (schema, document, validated(schema, document, rules))
        self._known[key] = found
        if len(self._known) > CACHED_DOCUMENTS:
            with suppress(KeyError):
                self._known.popitem(last=False)
        return found[2]


def validated(
    schema: GraphQLSchema, document: DocumentNode, rules: Sequence[type[ASTValidationRule]]
) -> list[GraphQLError]:
    """What is wrong with a document, up to `MOST_ERRORS` and a word that there is more.

    Where that is little, names are suggested for those that don't exist. graphql-core itself looks for them at each of
    up to a hundred errors, which held up the event loop for 0.2 to 0.4 s.
    """
    # As strawberry's validate_document, which takes no bounds.
    every = (*rules, MaybeNullValidationRule, OneOfInputValidationRule)
    errors = validate(schema, document, every, max_errors=MOST_ERRORS, hide_suggestions=True)
    if 0 < len(errors) <= _MOST_WITH_SUGGESTIONS:
        errors = validate(schema, document, every, max_errors=MOST_ERRORS)
    return errors


def _unnamed(context: ExecutionContext) -> list[GraphQLError]:
    """What is wrong with a request for one of several operations that doesn't say which: strawberry takes the first."""
    document = context.graphql_document
    if context._provided_operation_name is not None or document is None:
        return []
    operations = sum(isinstance(definition, OperationDefinitionNode) for definition in document.definitions)
    return [] if operations < 2 else [GraphQLError("The document has several operations: say which by operationName.")]
