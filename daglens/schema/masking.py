"""Entries of `errors[]`: each has a code and an errorId, which the log has too; none shows what is internal."""

import logging
import re
import traceback
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from daglens.schema.limits.errors import TOO_MANY_TOKENS
from daglens.schema.scalars import NotOfScalar
from daglens.storage.errors import DaglensError, StorageContractBroken, StorageUnavailable

log = logging.getLogger("daglens.server")

INTERNAL = "INTERNAL"
PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_USER_INPUT = "BAD_USER_INPUT"

_NO_MUTATIONS = "The mutation operation is not supported"
_TOO_MANY_TOKENS = "Syntax Error: Document contains more than"
"""So graphql-core's parser says it; what a client sent never begins a message of its."""
_WRONG_VALUE = re.compile(r"Variable '\$\w+' has invalid ", re.ASCII)
"""What was sent for a variable, not how the document uses one, of which graphql-core tells in like words."""
_REQUEST_WRONG = (GraphQLError, NotOfScalar, CannotGetOperationTypeError, InvalidOperationTypeError)
_FAILURES = frozenset({INTERNAL, "STORAGE_UNAVAILABLE", "STORAGE_SCHEMA_MISMATCH", StorageContractBroken.code})
"""What the server's operator has to look at: logged as errors."""
_MOST_LOGGED_CHARS = 2_000
"""Of what is wrong with a request, which may quote names as long as its body: clients don't fill the log's disk."""


def masked(errors: Iterable[GraphQLError], clean: "Cleaner") -> list[GraphQLError]:
    """The errors as clients see them. Each is logged; one exception met at several fields once, under one errorId."""
    ids: dict[int, str] = {}
    return [_masked(error, clean, ids) for error in errors]


class Cleaner:
    """Takes the secrets of an instance's configuration out of texts. Without an instance it changes nothing."""

    def __init__(self, instance: Any = None) -> None:
        self._sections = () if instance is None else tuple(instance.sections.values())

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for section in self._sections:
            text = section.clean(text)
        return text


def _masked(error: GraphQLError, clean: Cleaner, ids: dict[int, str]) -> GraphQLError:
    if "errorId" in (error.extensions or {}):
        return error
    cause = _cause(error)
    code, message = _told(error, cause)
    known = ids.get(id(cause)) if cause is not None else None
    error_id = known or str(uuid4())
    if cause is not None:
        ids[id(cause)] = error_id
    if known is None:
        _log(error_id, code, error, cause, clean)
    return GraphQLError(
        # What a client sent comes back as it was: with secrets taken out of it, guesses would be confirmed.
        message if cause is None else clean(message),
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={**_extensions(error), **_limit(error, code), "code": code, "errorId": error_id},
    )


def _cause(error: GraphQLError) -> BaseException | None:
    """The exception behind an error; None where the request itself is wrong."""
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return None if isinstance(cause, _REQUEST_WRONG) else cause


def _extensions(error: GraphQLError) -> dict[str, Any]:
    """What whoever raised a GraphQLError (a limit, an access check) says of it beside the message."""
    return dict(error.extensions or {})


def _limit(error: GraphQLError, code: str) -> dict[str, int]:
    """Of a limit that graphql-core's parser keeps: as our own limits tell it."""
    return {"limit": _most_tokens(error)} if code == TOO_MANY_TOKENS else {}


def _most_tokens(error: GraphQLError) -> int:
    return int("".join(sign for sign in error.message if sign.isdecimal()))


def _told(error: GraphQLError, cause: BaseException | None) -> tuple[str, str]:
    """Code and message for the client."""
    if isinstance(cause, DaglensError) and cause.code != INTERNAL:
        return cause.code, str(cause)
    if cause is None:
        given = _extensions(error).get("code")
        if isinstance(given, str):
            return given, error.message
        if error.message.startswith(_TOO_MANY_TOKENS):
            message = f"The document has more than {_most_tokens(error)} tokens. Values belong into its variables."
            return TOO_MANY_TOKENS, message
        if isinstance(error, GraphQLSyntaxError) or error.message.startswith("Syntax Error"):
            return PARSE_FAILED, error.message
        if error.message.startswith(_NO_MUTATIONS):
            return VALIDATION_FAILED, "This server is read-only: its schema has no mutations. Ask one that isn't."
        if error.path is None:
            value = _WRONG_VALUE.match(error.message) or error.original_error is not None
            return (BAD_USER_INPUT if value else VALIDATION_FAILED), error.message
        if error.message.startswith("Argument "):
            return BAD_USER_INPUT, error.message
    return INTERNAL, "Something went wrong in the server; its log has the details under this errorId."


def _log(error_id: str, code: str, error: GraphQLError, cause: BaseException | None, clean: Cleaner) -> None:
    where = ".".join(str(part) for part in error.path or ())
    raised = cause or error
    if isinstance(raised, StorageUnavailable) and raised.foreseen:
        # The sentence says it all. An outage fails every request; a traceback of each would bury what else there is.
        log.error("errorId %s: %s at %s: %s", error_id, code, where or "(no field)", clean(str(raised)))
    elif code in _FAILURES:
        text = "".join(traceback.format_exception(type(raised), raised, raised.__traceback__))
        log.error("errorId %s: %s at %s\n%s", error_id, code, where or "(no field)", clean(text))
    else:
        # Cut when it is clean: half a secret would not be recognised.
        told = clean(error.message)[:_MOST_LOGGED_CHARS]
        log.info("errorId %s: %s at %s: %r", error_id, code, where or "(no field)", told)
