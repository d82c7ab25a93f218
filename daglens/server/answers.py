"""JSON, and answers that are no result of an operation: in the form of GraphQL's errors, which every client reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daglens.server.telemetry.request import request_of

log = logging.getLogger("daglens.server")

_MOST_PATH_CHARS = 200
JSON_TYPE = "application/json; charset=utf-8"
NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def json_bytes(value: Any) -> bytes:
    """A JSON value as UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates, which orjson won't write, stand in somebody's run configuration.
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def note_refusal(scope: Scope, code: str, how: str, error_id: str | None = None) -> str:
    """Log and count that a request or a socket is refused; the errorId. `how` is said in the log alone."""
    error_id = error_id or str(uuid4())
    asked = ""
    if (record := request_of(scope)) is not None:
        record.refuse(code, error_id)
        # Whoever looks for the client that knocks with a wrong token all night has no other line, unless each request
        # has one (--access-log).
        asked = f" ({record.method} {record.path[:_MOST_PATH_CHARS]} from {record.client or 'a Unix socket'})"
    log.info("errorId %s: %s: %s%s", error_id, code, how, asked)
    return error_id


class Refusal(Response):
    """An answer that only says what is wrong; the server's log has its errorId."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        error_id: str,
        headers: Mapping[str, str],
        told: Mapping[str, object] = NOTHING,
    ) -> None:
        body = {"errors": [{"message": message, "extensions": {**told, "code": code, "errorId": error_id}}]}
        super().__init__(json_bytes(body), status, headers)
        self.code = code
        self.error_id = error_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Response."""
        if self.status_code != 500:
            note_refusal(scope, self.code, f"HTTP {self.status_code}", self.error_id)
        elif (record := request_of(scope)) is not None:
            # A bug: the log has told of it with what is known.
            record.refuse(self.code, self.error_id)
        await super().__call__(scope, receive, send)


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = JSON_TYPE,
    error_id: str | None = None,
    told: Mapping[str, object] = NOTHING,
) -> Response:
    """An answer that only says what is wrong. `code` is stable, `message` a sentence for people.

    `error_id`: under which the log has told of it already. `told`: what programs are told beside the code.
    """
    error_id = error_id or str(uuid4())
    return Refusal(status, code, message, error_id, {"content-type": media_type, **(headers or {})}, told)


async def refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    """Answer a request, or the handshake of a socket, with a refusal.

    Where the server in front can't say more to a handshake than 403 (it lacks ASGI's `websocket.http.response`), that
    is all that is said.
    """
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
    else:
        await answer(scope, receive, send)
