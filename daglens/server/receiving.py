"""What a WebSocket's protocol holds of messages that are coming in, before the application has any of them."""

from __future__ import annotations

from typing import Final, Protocol

RECEIVING: Final = "daglens.receiving"
"""Name of the ASGI extension: `receiving(counted)` says by whom the bytes are counted that a socket has received."""

_SMALL: Final = 65_536
"""Of a message that is still coming in, or waits to be read: so much of each socket isn't counted."""
FRAGMENT_BYTES: Final = 64
"""That a piece of a message takes in memory beside its own bytes: a client may send it by single bytes."""


class Counted(Protocol):
    """By whom bytes are counted."""

    def hold(self, size: int) -> None:
        """Count so many more. Raises what says that they are too many."""

    def release(self, size: int) -> None:
        """Count so many less."""


class Receiving:
    """Bytes of one socket that the application has not been given yet."""

    __slots__ = ("_counted", "_held", "partial", "queued")

    def __init__(self) -> None:
        self._counted: Counted | None = None
        self._held = 0
        self.partial = 0
        """Of the pieces of a message that is coming in."""
        self.queued = 0
        """Of messages that wait to be read."""

    def count_by(self, counted: Counted) -> None:
        """From now on they are counted. What the other side calls the extension."""
        self._counted = counted

    def count(self, buffered: int) -> None:
        """Count what is there now, with what no piece was made of yet.

        Raises:
            Exception: What `hold` raised; nothing changes.
        """
        there = self.partial + self.queued + buffered
        if there <= _SMALL:
            there = 0
        if there == self._held or self._counted is None:
            return
        if there > self._held:
            self._counted.hold(there - self._held)
        else:
            self._counted.release(self._held - there)
        self._held = there
