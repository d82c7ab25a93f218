"""Limits that were met: entries of `errors[]`, with what was asked for and what is allowed."""

from __future__ import annotations

from typing import Final

from graphql import GraphQLError

from daglens.storage.errors import DaglensError

TOO_MANY_TOKENS: Final = "TOO_MANY_TOKENS"


class OperationTimeout(DaglensError):
    """The operation took longer than the server allows and was ended."""

    code = "OPERATION_TIMEOUT"


def limit_error(message: str, *, code: str, limit: int, found: int | None = None) -> GraphQLError:
    """An error by which nothing is executed. `found` is what was asked for, `limit` what is allowed."""
    extensions: dict[str, object] = {"code": code, "limit": limit}
    if found is not None:
        extensions["found"] = found
    return GraphQLError(message, extensions=extensions)
