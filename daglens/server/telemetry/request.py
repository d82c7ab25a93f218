"""One request or socket while it is answered: what its log line and the log lines in between say of it."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

from starlette.types import Scope

_KEY = "daglens.request"
_TOLD = frozenset({b"x-request-id", b"traceparent", b"tracestate"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=@\-]{0,127}", re.ASCII)
_MOST_NOTED = 8
_MOST_NAME_CHARS = 200


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request up to now.

    Attributes:
        id: Its `X-Request-Id`, where that is one of at most 128 plain characters; else a new one.
        transport: http, sse or websocket.
        route: Name in the table of rules; None before the route was looked for, or where there is none.
        who: Name of whoever it speaks for, where they have one.
        status: Of the answer, or the code a socket was closed with.
        code: Of its first error.
        refused: Code of the refusal, when it was refused.
        error_ids: Of its errors; the first few.
        operations: Names of its operations; the first few.
        trace: The request's `traceparent` and `tracestate`.
    """

    id: str
    transport: str
    method: str
    path: str
    client: str
    trace: dict[str, str]
    began: float = field(default_factory=perf_counter)
    route: str | None = None
    who: str | None = None
    status: int | None = None
    code: str | None = None
    refused: str | None = None
    error_ids: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    received_bytes: int = 0
    sent_bytes: int = 0
    sent_messages: int = 0

    def note_error(self, code: str, error_id: str) -> None:
        """One of its errors has this code and id."""
        if self.code is None:
            self.code = code
        if len(self.error_ids) < _MOST_NOTED:
            self.error_ids.append(error_id)

    def refuse(self, code: str, error_id: str) -> None:
        """It is answered by a refusal."""
        self.refused = code
        self.note_error(code, error_id)

    def note_operation(self, name: str) -> None:
        """It asks for this operation. Of a name as long as a request, the beginning is noted."""
        if len(self.operations) < _MOST_NOTED:
            self.operations.append(name[:_MOST_NAME_CHARS])


_current: ContextVar[RequestRecord | None] = ContextVar("daglens_request", default=None)


def current_request() -> RequestRecord | None:
    """The request that the running code works for; None where it works for none."""
    return _current.get()


def begin_request(scope: Scope) -> RequestRecord:
    """A new record: in the scope, and for all that runs for this request."""
    told = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _TOLD}
    given = told.pop(b"x-request-id", "")
    record = RequestRecord(
        given if _ID.fullmatch(given) else os.urandom(16).hex(),
        "websocket" if scope["type"] == "websocket" else "http",
        scope.get("method", "GET"),
        scope["path"],
        scope["client"][0] if scope.get("client") else "",
        {name.decode(): value for name, value in told.items()},
    )
    scope[_KEY] = record
    _current.set(record)
    return record


def request_of(scope: Scope) -> RequestRecord | None:
    """The record of a scope; None when nobody measures."""
    record: RequestRecord | None = scope.get(_KEY)
    return record


def note_route(scope: Scope, route: str | None) -> None:
    """The request is for this route."""
    if (record := request_of(scope)) is not None:
        record.route = route


def note_who(scope: Scope, name: str | None) -> None:
    """The request speaks for somebody of this name."""
    if (record := request_of(scope)) is not None:
        record.who = name
