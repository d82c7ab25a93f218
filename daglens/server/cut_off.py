"""The last word to whoever is not answered in the time that a stopping server lets requests finish."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from daglens.resolvers.live import ServerStopping
from daglens.server.answers import refusal, refuse
from daglens.server.telemetry.request import request_of

_MESSAGE = (
    "The server is stopping, and this took longer than it waits. Send it again; where it changes something, look first "
    "whether it was done."
)
_DISCONNECTS = frozenset({"http.disconnect", "websocket.disconnect"})


class CutOff:
    """Answers requests that are cancelled while the server stops, where their answer has not begun. One that has is
    seen to be cut off: its connection is.

    uvicorn would answer by a bare 500, and log a traceback of each of them as a bug. Stands behind what measures.
    """

    def __init__(self, app: ASGIApp, *, stopping: asyncio.Event) -> None:
        """`stopping`: set when the server is about to stop."""
        self._app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            # Cancelled where somebody won't wait for the end, and nobody sends it anything any more.
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self._stopping.is_set():
                raise
            task.uncancel()
            record = request_of(scope)
            if scope["type"] == "http" and record is not None and record.status is None:
                headers = {"connection": "close", "retry-after": "1"}
                answer = refusal(503, ServerStopping.code, _MESSAGE, headers=headers)
                await refuse(scope, receive, send, answer)
                return
            if scope["type"] == "websocket" and record is not None and record.status is not None:
                return  # its end has come already, and nothing comes behind it
            # To return earlier would be taken for the answer's end. The server ends the connection soon.
            while (await receive())["type"] not in _DISCONNECTS:
                pass
