"""What a storage with a pool of connections tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Connections:
    """A pool, as it is now.

    Attributes:
        pool: Its name, without secrets. Storages that share one give the same.
        most: How many connections there may be.
        in_use, idle: How many there are.
        round_trips: Messages sent to the server up to now; each may hold several statements.
    """

    pool: str
    most: int
    in_use: int
    idle: int
    round_trips: int


@runtime_checkable
class HasConnections(Protocol):
    """A storage that may be asked for its connections; optional."""

    def connections(self) -> Connections:
        """The pool. Answered at once, without asking the server; never raises."""
        ...
