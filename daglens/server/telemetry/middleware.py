"""Stands before everything else: gives each request its id, counts what goes in and out, and writes its log line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daglens.server.pushing import PUSH
from daglens.server.telemetry.request import RequestRecord, begin_request
from daglens.server.telemetry.telemetry import Telemetry

log = logging.getLogger("daglens.access")

REQUEST_ID = b"x-request-id"
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})
_KNOWN_CODES = frozenset({1000, 1001, 1002, 1005, 1006, 1007, 1009, 1011, 1012, 1013})
"""Clients may close with any of 4,000; of those that the protocol tells, its own and theirs, only these are counted by
themselves."""


class TelemetryMiddleware:
    """Measures each request and each socket."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        measured = _Measured(self._telemetry, begin_request(scope), receive, send)
        extensions = scope.get("extensions") or {}
        if PUSH in extensions:
            scope["extensions"] = {**extensions, PUSH: measured.pushing(extensions[PUSH])}
        try:
            await self._app(scope, measured.receive, measured.send)
        except Exception:
            measured.fail()
            raise
        finally:
            measured.end()


class _Measured:
    """One request or socket, from here to its end."""

    def __init__(self, telemetry: Telemetry, record: RequestRecord, receive: Receive, send: Send) -> None:
        self._telemetry = telemetry
        self._record = record
        self._receive = receive
        self._send = send
        self._traffic = telemetry.traffic[record.transport]
        self._uncounted = 0
        """Bytes of a body that came before the answer told whether it is a stream of events."""
        telemetry.in_progress[record.transport].inc()

    async def receive(self) -> Message:
        """See ASGI."""
        message = await self._receive()
        kind = message["type"]
        if kind == "http.request":
            self._received(len(message.get("body", b"")))
        elif kind == "websocket.receive":
            self._received(_size(message))
        elif kind == "websocket.disconnect" and self._record.status is None:
            code = message.get("code", 1006)
            self._record.status = code if code in _KNOWN_CODES else 0
        return message

    async def send(self, message: Message) -> None:
        """See ASGI."""
        kind = message["type"]
        if kind == "http.response.start":
            self._record.status = message["status"]
            message = self._with_id(message)
            for name, value in message["headers"]:
                if name == b"content-type" and value.startswith(b"text/event-stream"):
                    self._becomes("sse")
            self._count_body()
        elif kind == "http.response.body":
            self._sent(len(message.get("body", b"")))
        elif kind == "websocket.send":
            self._sent(_size(message))
        elif kind == "websocket.accept":
            message = self._with_id(message)
        elif kind == "websocket.http.response.start":
            # Its handshake is refused.
            self._record.status = message["status"]
            message = self._with_id(message)
        elif kind == "websocket.http.response.body":
            self._sent(len(message.get("body", b"")))
        await self._send(message)
        if kind == "websocket.close":
            # Not where it was too late for that.
            self._record.status = message.get("code", 1000)

    def pushing(self, push: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """`push`, measured."""

        def measured(text: bytes) -> bool:
            pushed = push(text)
            if pushed:
                self._sent(len(text))
            return pushed

        return measured

    def fail(self) -> None:
        """Nothing was answered: a bug. Whoever catches it answers with 500."""
        if self._record.status is None:
            self._record.status = 1011 if self._record.transport == "websocket" else 500

    def end(self) -> None:
        """It has ended."""
        self._count_body()
        record, telemetry = self._record, self._telemetry
        seconds = perf_counter() - record.began
        # Who left before the answer began has no status.
        status = "none" if record.status is None else "other" if record.status == 0 else str(record.status)
        route = record.route or "none"
        method = record.method if record.method in _METHODS else "other"
        telemetry.in_progress[record.transport].dec()
        telemetry.requests[(record.transport, route, method, status)].inc()
        if record.refused is not None:
            telemetry.errors[(telemetry.codes.label(record.refused),)].inc()
        if record.transport == "http":
            telemetry.request_seconds[(route,)].observe(seconds)
        if log.isEnabledFor(logging.INFO):
            log.info("%s", _line(record, status, seconds), extra={"fields": _fields(record, status, seconds)})

    def _becomes(self, transport: str) -> None:
        in_progress = self._telemetry.in_progress
        in_progress[self._record.transport].dec()
        in_progress[transport].inc()
        self._record.transport = transport
        self._traffic = self._telemetry.traffic[transport]

    def _count_body(self) -> None:
        self._traffic.received_bytes += self._uncounted
        self._uncounted = 0

    def _received(self, size: int) -> None:
        if self._record.transport == "http" and self._record.status is None:
            self._uncounted += size
        else:
            self._traffic.received_bytes += size
        self._record.received_bytes += size

    def _sent(self, size: int) -> None:
        self._traffic.sent_messages += 1
        self._traffic.sent_bytes += size
        self._record.sent_messages += 1
        self._record.sent_bytes += size

    def _with_id(self, message: Message) -> Message:
        # Names are in lower case, says ASGI.
        headers = [pair for pair in message.get("headers", ()) if pair[0] != REQUEST_ID]
        headers.append((REQUEST_ID, self._record.id.encode()))
        return {**message, "headers": headers}


def _size(message: Message) -> int:
    """Bytes of a socket's message."""
    text = message.get("text")
    if text is None:
        return len(message.get("bytes") or b"")
    # Which of them it is a text knows without a look.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _fields(record: RequestRecord, status: str, seconds: float) -> dict[str, Any]:
    """What a line of JSON says beside the message. Addresses only up to the `?`: what follows may be anything."""
    return {
        "transport": record.transport,
        "method": record.method,
        "path": record.path,
        "route": record.route,
        "status": int(status) if status.isdigit() else status,
        "seconds": round(seconds, 6),
        "client": record.client,
        "user": record.who,
        "operations": record.operations,
        "code": record.code,
        "errorIds": record.error_ids,
        "receivedBytes": record.received_bytes,
        "sentBytes": record.sent_bytes,
        "sentMessages": record.sent_messages,
    }


def _line(record: RequestRecord, status: str, seconds: float) -> str:
    said = [
        record.client or "-",
        record.transport,
        record.method,
        ascii(record.path)[1:-1],
        status,
        f"{seconds * 1000:.1f}ms",
        f"{record.sent_bytes}B",
    ]
    if record.who is not None:
        said.append(f"user={ascii(record.who)[1:-1]}")
    if record.operations:
        said.append(f"operation={ascii(','.join(record.operations))[1:-1]}")
    if record.code is not None:
        said.append(f"code={record.code}")
    if record.error_ids:
        said.append(f"errorId={','.join(record.error_ids)}")
    return " ".join(said)
