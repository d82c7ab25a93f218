"""A WebSocket of uvicorn that can also be written to without waiting: what a feed of a thousand viewers is sent by."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

PUSH = "daglens.push"
"""Name of the ASGI extension: `push(text: bytes) -> bool` sends a text message, or says that it can't at once."""


class PushingProtocol(WebSocketsSansIOProtocol):
    """Offers `daglens.push` to the application.

    ASGI's own `send` may have to wait, so each message to each viewer takes a task that is woken, and five layers on
    its way; that is two thirds of what a message costs (benchmarks/live.py).
    """

    def handle_connect(self, event: Any) -> None:
        """See uvicorn: the application runs from here on, soon."""
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[PUSH] = self.push

    def push(self, text: bytes) -> bool:
        """Send a text message now; False, and nothing is sent, when the client hasn't read what went before, or when
        the socket isn't open."""
        if not self.writable.is_set() or self.close_sent or self.conn.state is not State.OPEN or self.conn.extensions:
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
