"""What a storage tells of its connections and statements, where it has some to tell of."""

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
    """

    pool: str
    most: int
    in_use: int
    idle: int


@dataclass(frozen=True, slots=True)
class Statements:
    """What one database was asked by this process, up to now.

    Attributes:
        database: Its name, without secrets. Storages that share one give the same.
        count: Messages sent to a server, each of which may hold several statements; where there is no server, the
            statements.
        seconds: How long they took, with the reading of their rows, and, where there is no server, with what is made
            of them.
    """

    database: str
    count: int
    seconds: float


@runtime_checkable
class HasConnections(Protocol):
    """A storage that may be asked for its connections; optional."""

    def connections(self) -> Connections:
        """The pool. Answered at once, without asking the server; never raises."""
        ...


@runtime_checkable
class HasStatements(Protocol):
    """A storage that counts its statements; optional."""

    def statements(self) -> Statements:
        """What was counted. Answered at once; never raises."""
        ...
