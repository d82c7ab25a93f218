"""Names and roles."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; each role includes those before it."""

    VIEWER = "viewer"
    """Read everything."""
    RECORDER = "recorder"
    """Create runs, and write to the runs it created."""
    ADMIN = "admin"
    """Write to every run, and delete runs."""

    def includes(self, other: Role) -> bool:
        """Whether whoever has this role may do what `other` may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody, as the server knows them.

    Attributes:
        name: Stands as `createdBy` on the runs they create, and is what makes those runs theirs: two people never
            share one. None is nobody by name, and owns no run.
    """

    name: str | None
    role: Role

    @property
    def rights(self) -> Hashable:
        """Two identities with equal rights may be given each other's answers to a query or a subscription."""
        return self.role


EVERYBODY = Identity(None, Role.ADMIN)
"""Whoever asks where there is no access control, code that holds the instance itself included."""
