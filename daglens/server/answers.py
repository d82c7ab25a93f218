"""JSON, and answers that are no result of an operation: in the form of GraphQL's errors, which every client reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daglens.server.telemetry.request import request_of

log = logging.getLogger("daglens.server")

JSON_TYPE = "application/json; charset=utf-8"


def json_bytes(value: Any) -> bytes:
    """A JSON value as UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates, which orjson won't write, stand in somebody's run configuration.
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class Refusal(Response):
    """An answer that only says what is wrong; the server's log has its errorId."""

    def __init__(self, status: int, code: str, message: str, error_id: str, headers: Mapping[str, str]) -> None:
        body = {"errors": [{"message": message, "extensions": {"code": code, "errorId": error_id}}]}
        super().__init__(json_bytes(body), status, headers)
        self.code = code
        self.error_id = error_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Response."""
        if (record := request_of(scope)) is not None:
            record.refuse(self.code, self.error_id)
        if self.status_code != 500:
            # A bug has been told with what is known of it.
            log.info("errorId %s: %s: HTTP %d", self.error_id, self.code, self.status_code)
        await super().__call__(scope, receive, send)


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = JSON_TYPE,
    error_id: str | None = None,
) -> Response:
    """An answer that only says what is wrong. `code` is stable, `message` a sentence for people.

    `error_id`: under which the log has told of it already.
    """
    return Refusal(status, code, message, error_id or str(uuid4()), {"content-type": media_type, **(headers or {})})


async def refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    """Answer a request, or the handshake of a socket, with a refusal.

    Where the server in front can't say more to a handshake than 403 (it lacks ASGI's `websocket.http.response`), that
    is all that is said.
    """
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
    else:
        await answer(scope, receive, send)
