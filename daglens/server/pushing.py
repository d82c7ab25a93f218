"""A WebSocket of uvicorn that can also be written to without waiting, what a feed of a thousand viewers is sent by; and
that has counted what it receives."""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State

from daglens.server.receiving import FRAGMENT_BYTES, RECEIVING, Receiving
from daglens.storage.errors import DaglensError

PUSH = "daglens.push"
"""Name of the ASGI extension: `push(text: bytes) -> bool` sends a text message, or says that it can't at once."""

_TRY_AGAIN_LATER: Final = 1013
_LINGER_S: Final = 1.0
"""That a client has to read why it is closed while it sends on."""
_MOST_AFTER_CLOSE: Final = 65_536
_MOST_REASON_CHARS: Final = 123  # what a close frame has room for; these sentences are ASCII


class PushingProtocol(WebSocketsSansIOProtocol):
    """Offers `daglens.push` and `daglens.receiving` to the application.

    ASGI's own `send` may have to wait, so each message to each viewer takes a task that is woken, and five layers on
    its way; that is two thirds of what a message costs (benchmarks/live.py).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # What a server that ends tells those who send requests would unsay the upgrade.
        self.default_headers = [header for header in self.default_headers if header[0] != b"connection"]
        self._receiving = Receiving()
        self._discards = False

    def handle_connect(self, event: Any) -> None:
        """See uvicorn: the application runs from here on, soon."""
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[PUSH] = self.push
            extensions[RECEIVING] = self._receiving.count_by

    async def send(self, message: Any) -> None:
        """See ASGI."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # It is refused, and has been told why. uvicorn 0.54 would log at level ERROR that it was not answered.
            self.handshake_complete = True

    def push(self, text: bytes) -> bool:
        """Send a text message now; False, and nothing is sent, when the client hasn't read what went before, or when
        the socket isn't open."""
        if not self.writable.is_set() or self.close_sent or self.conn.state is not State.OPEN or self.conn.extensions:
            return False
        if self.disconnected:
            # The application hears of it a moment later; uvloop's transports raise meanwhile.
            return False
        size = len(text)
        if size < 126:
            head = bytes((0x81, size))
        elif size < 65536:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        self.transport.write(head + text)
        return True

    def data_received(self, data: bytes) -> None:
        """See uvicorn."""
        if self._discards:
            return
        super().data_received(data)
        if not self.close_sent:
            self._count()
        elif len(self.conn.reader.buffer) > _MOST_AFTER_CLOSE:
            self._discard()

    def handle_text(self, event: Frame) -> None:
        """See uvicorn."""
        self._receiving.partial = len(event.data) + FRAGMENT_BYTES
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """See uvicorn."""
        self._receiving.partial = len(event.data) + FRAGMENT_BYTES
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """See uvicorn."""
        self._receiving.partial += len(event.data) + FRAGMENT_BYTES
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """See uvicorn: a message is complete."""
        self._receiving.queued += self._receiving.partial
        self._receiving.partial = 0
        super().send_receive_event_to_app()

    async def receive(self) -> Any:
        """See uvicorn."""
        message = await super().receive()
        if self._receiving.queued and self.queue.empty():
            # Whoever takes the last one holds it from here on.
            self._receiving.queued = 0
            self._count()
        return message

    def _count(self) -> None:
        try:
            self._receiving.count(len(self.conn.reader.buffer))
        except DaglensError as error:
            self._end(f"{error.code}: {error}")

    def _end(self, reason: str) -> None:
        """Close the socket, whatever its client goes on sending."""
        self.stop_keepalive()
        if self.conn.state is State.OPEN:
            self.conn.send_close(_TRY_AGAIN_LATER, reason[:_MOST_REASON_CHARS])
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        # What is sent from here on is told that the client has gone. Nor is what has come answered any more: whoever
        # took it would count the socket as closed for what it holds.
        self.disconnected = True
        for message in [self.queue.get_nowait() for _ in range(self.queue.qsize())]:
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)
        self._receiving.queued = 0
        self.queue.put_nowait({"type": "websocket.disconnect", "code": _TRY_AGAIN_LATER, "reason": reason})
        self._discard()

    def _discard(self) -> None:
        """Take what comes, keep none of it, and hang up soon."""
        self._discards = True
        self.conn.reader.buffer.clear()
        self.frames = []
        self._receiving.partial = 0
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(_LINGER_S, self.transport.close)
