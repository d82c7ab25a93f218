"""GraphQL over Server-Sent Events: one operation per connection, as npm's `graphql-sse` speaks it in its "distinct
connections mode", and a browser's `EventSource` reads it.

Each result is an event `next`, the end an event `complete`. What is wrong with the operation (syntax, validation,
variables) is a result as well: an EventSource shows a page nothing of an answer that isn't 200.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.types.graphql import OperationType

from daglens.server.connected import gone, until_first
from daglens.server.graphql_request import BadRequest, GraphQLRequest
from daglens.server.served import Served

EVENT_STREAM_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {
    "content-type": EVENT_STREAM_TYPE,
    # A proxy that compresses holds events back until it has enough of them.
    "cache-control": "no-store, no-transform",
    # nginx passes on each event at once, whatever its `proxy_buffering`.
    "x-accel-buffering": "no",
}

_LAST_WORD_S = 1.0


class EventStream(Response):
    """The answer to one operation. It ends with the operation, with the client, or when the server stops.

    An event's id is the cursor of its message, selected or not, so that an EventSource resumes by itself: the
    `Last-Event-ID` that it then sends stands in for the subscription's `after`.
    """

    def __init__(self, served: Served, request: Request, operation: GraphQLRequest) -> None:
        """Raises BadRequest when the operation may not be sent by this method."""
        max_tokens = served.settings.limits.max_tokens
        if request.method != "POST" and operation.operation_type(max_tokens) is OperationType.MUTATION:
            raise BadRequest("Send mutations by POST.", status=405, code="METHOD_NOT_ALLOWED")
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS)
        self._served = served
        self._operation = operation
        self._context = served.context(request.scope)
        self._context.resume_after = request.headers.get("last-event-id") or None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Response."""
        events = _Events(send, self.raw_headers, self._served.settings.ping_interval_s)
        if scope["method"] == "HEAD":
            await events.end()
            return
        # What is sent waits until the client takes it: a client that doesn't read stops its feed here, which then holds
        # no more than its cursor and one message.
        await until_first(self._speak(events), events.ping(), gone(receive), self._stopping())
        # A client that has stopped reading isn't waited for.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_S):
                await events.end()

    async def _stopping(self) -> None:
        """Return when the server stops, and this has no end of its own: then its client resumes elsewhere."""
        await self._served.stopping.wait()
        if self._operation.operation_type(self._served.settings.limits.max_tokens) is not OperationType.SUBSCRIPTION:
            await asyncio.Event().wait()

    async def _speak(self, events: _Events) -> None:
        async with aclosing(self._served.results.of(self._operation, self._context)) as results:
            async for result in results:
                await events.tell(b"next", result.body, result.cursor)
        await events.tell(b"complete", b"")


class _Events:
    """What goes out, one event at a time, as fast as the client takes it."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], ping_interval_s: float) -> None:
        self._send = send
        self._begun = False
        self._headers = headers
        self._ping_interval_s = ping_interval_s
        self._sending = asyncio.Lock()
        self._now = asyncio.get_running_loop().time
        self._sent_at = self._now()

    async def tell(self, name: bytes, data: bytes, id: str | None = None) -> None:
        """Send an event; `data` is one line. Returns when it has left."""
        named = b"" if id is None else b"id: %b\n" % id.encode()
        # An EventSource passes over an event without `data`.
        await self._write(b"event: %b\n%bdata: %b\n\n" % (name, named, data))

    async def ping(self) -> None:
        """Send a comment whenever nothing was sent for the interval. Never ends."""
        while True:
            left_s = self._sent_at + self._ping_interval_s - self._now()
            if left_s > 0:
                await asyncio.sleep(left_s)
            else:
                await self._write(b":\n\n")

    async def end(self) -> None:
        """Say that nothing more comes."""
        await self._write(b"", more=False)

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        async with self._sending:
            if not self._begun:
                self._begun = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
            self._sent_at = self._now()
