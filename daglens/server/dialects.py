"""The two WebSocket protocols: `graphql-transport-ws`, and the older `graphql-ws` of subscriptions-transport-ws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one protocol calls things.

    Attributes:
        subprotocol: Its name in the handshake.
        start, stop: Messages by which a client begins and ends an operation.
        result: The message that carries a result.
        is_legacy: Errors are one object, an id used again replaces the operation, unknown messages are passed over.
    """

    subprotocol: str
    start: str
    stop: str
    result: str
    is_legacy: bool

    def error_payload(self, errors: Sequence[dict[str, Any]]) -> Any:
        """The payload of an `error` message."""
        return errors[0] if self.is_legacy else list(errors)


TRANSPORT = Dialect("graphql-transport-ws", "subscribe", "complete", "next", is_legacy=False)
LEGACY = Dialect("graphql-ws", "start", "stop", "data", is_legacy=True)
DIALECTS = {dialect.subprotocol: dialect for dialect in (TRANSPORT, LEGACY)}


def chosen(offered: Sequence[str]) -> Dialect | None:
    """The first protocol offered that is spoken here."""
    return next((DIALECTS[name] for name in offered if name in DIALECTS), None)
