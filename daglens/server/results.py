"""The result of an operation as every transport sends it."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from daglens.schema.limits.errors import OperationTimeout
from daglens.server.answers import json_bytes
from daglens.storage.errors import DaglensError

log = logging.getLogger("daglens.server")


class AnswerTooLarge(DaglensError):
    """The answer is larger than this server sends; ask for less at once."""

    code = "ANSWER_TOO_LARGE"

    def __init__(self, found: int, limit: int) -> None:
        self.found = found
        self.limit = limit
        super().__init__(f"It has {found:,} bytes of JSON; {limit:,} are allowed.")

    def body(self) -> bytes:
        """What is sent in the answer's place."""
        error_id = str(uuid4())
        log.info("errorId %s: %s: %s", error_id, self.code, self)
        extensions = {"code": self.code, "limit": self.limit, "found": self.found, "errorId": error_id}
        return json_bytes({"errors": [{"message": str(self), "extensions": extensions}], "data": None})


def payload_of(result: Any) -> dict[str, Any]:
    """`errors` where there are any, `data`, `extensions` where there are any."""
    payload: dict[str, Any] = {}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    payload["data"] = result.data
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload


def body_of(payload: dict[str, Any], most_bytes: int) -> bytes:
    """The payload as JSON. `most_bytes` 0: of any size.

    Raises:
        AnswerTooLarge
    """
    body = json_bytes(payload)
    if 0 < most_bytes < len(body):
        raise AnswerTooLarge(len(body), most_bytes)
    return body


def is_rejected(payload: dict[str, Any]) -> bool:
    """Whether nothing was executed (parsing, validation, limits, variables): no data, and errors that name no field."""
    return (
        payload["data"] is None
        and bool(payload.get("errors"))
        and all("path" not in e and not _is_timeout(e) for e in payload["errors"])
    )


def _is_timeout(error: dict[str, Any]) -> bool:
    return bool(error.get("extensions", {}).get("code") == OperationTimeout.code)
