"""An operation as clients send it, by whatever transport. Read strictly: what is malformed is said at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError
from strawberry.types.graphql import OperationType
from strawberry.utils.operation import get_operation_type

from daglens.schema.documents import parsed
from daglens.schema.large_input import marked
from daglens.storage.errors import DaglensError


class BadRequest(DaglensError):
    """The request can't be read."""

    code = "BAD_REQUEST"

    def __init__(
        self,
        hint: str,
        *,
        status: int = 400,
        code: str = "BAD_REQUEST",
        limit: int | None = None,
        found: int | None = None,
    ) -> None:
        """`limit` is what is allowed, and `found` what there is, where either is known."""
        super().__init__(hint)
        self.hint = hint
        self.status = status
        self.told_code = code
        self.told = {name: value for name, value in (("limit", limit), ("found", found)) if value is not None}


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """One operation to execute.

    Attributes:
        query: Its document; "" when only an id of it was sent.
        document_id: As `documentId`, or as Apollo's `extensions: {persistedQuery: {sha256Hash}}`.
    """

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None
    document_id: str | None = None

    @classmethod
    def read(cls, parameters: Any, size: int = 0) -> GraphQLRequest:
        """The request of a JSON value, which was sent by so many bytes.

        Raises:
            BadRequest
        """
        if not isinstance(parameters, dict):
            raise BadRequest("A GraphQL request is a JSON object with the key `query`; batches are not taken.")
        query = parameters.get("query")
        extensions = _map(parameters, "extensions")
        document_id = _document_id(parameters, extensions or {})
        if query is None and document_id is not None:
            query = ""
        elif not isinstance(query, str) or not query.strip():
            raise BadRequest("`query` must be a string that holds a GraphQL document.")
        name = parameters.get("operationName")
        if name is not None and not isinstance(name, str):
            raise BadRequest("`operationName` must be a string or null.")
        # An empty name is what some clients send for none.
        return cls(query, marked(_map(parameters, "variables"), size), name or None, extensions, document_id)

    @classmethod
    def read_query_string(cls, parameters: Mapping[str, str]) -> GraphQLRequest:
        """The request of a GET: `variables` and `extensions` are JSON text.

        Raises:
            BadRequest
        """
        values: dict[str, Any] = dict(parameters)
        for key in ("variables", "extensions"):
            if key in values:
                values[key] = parse_json(values[key] or "null", f"`{key}`")
        return cls.read(values)

    def operation_type(self, max_tokens: int) -> OperationType | None:
        """What kind of operation it asks for; None when the document has no such operation, more tokens than that, or
        is no GraphQL: nothing is executed then. `max_tokens` 0: any number."""
        try:
            # By the same rule as the schema chooses the operation that it carries out.
            return get_operation_type(parsed(self.query, max_tokens), self.operation_name)
        except (GraphQLError, RecursionError, RuntimeError):
            return None


def _document_id(parameters: dict[str, Any], extensions: dict[str, Any]) -> str | None:
    id = parameters.get("documentId")
    if id is None and isinstance(persisted := extensions.get("persistedQuery"), dict):
        id = persisted.get("sha256Hash")
    if id is not None and (not isinstance(id, str) or not id):
        raise BadRequest("`documentId`, or `sha256Hash` in `extensions: {persistedQuery: …}`, must be a string.")
    return id


def _map(parameters: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = parameters.get(key)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"`{key}` must be a JSON object or null.")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(text: str | bytes, what: str, decoder: json.JSONDecoder = DECODER) -> Any:
    """A JSON value. Integers of any size are kept, NaN and infinities refused, as are bytes that are no UTF-8.

    Raises:
        BadRequest: `what` says in the message what was no JSON.
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return decoder.decode(decoded)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise BadRequest(f"{what} is no JSON: {reason}.") from None
