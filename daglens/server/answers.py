"""JSON, and answers that are no result of an operation: in the form of GraphQL's errors, which every client reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

JSON_TYPE = "application/json; charset=utf-8"


def json_bytes(value: Any) -> bytes:
    """A JSON value as UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates, which orjson won't write, stand in somebody's run configuration.
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def refusal(
    status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, media_type: str = JSON_TYPE
) -> Response:
    """An answer that only says what is wrong. `code` is stable, `message` a sentence for people."""
    body = {"errors": [{"message": message, "extensions": {"code": code}}]}
    return Response(json_bytes(body), status, {"content-type": media_type, **(headers or {})})
