"""Forks: SQLite's locks belong to a process, so no connection may be carried into a child.

Before a fork every connection is closed (both sides open their own when they need one); a child that used an inherited
one would hold no lock of its own, and the parent, when it ends, would take the write-ahead log away under it.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

PATIENCE_S = 5.0
"""How long a fork waits for a call on the database that is under way in another thread."""


class Forkable(Protocol):
    """What is told of forks."""

    def pause_for_fork(self) -> None:
        """In the parent, before it."""

    def go_on_in_parent(self) -> None:
        """In the parent, after it."""

    def start_in_child(self) -> None:
        """In the child."""


_living: weakref.WeakSet[Forkable] = weakref.WeakSet()
_paused: list[Forkable] = []
_kept: list[object] = []


def protect(database: Forkable) -> None:
    """Tell `database` of every fork, for as long as it lives."""
    _living.add(database)


def keep(*inherited: object) -> None:
    """Never let these be closed in this process: closing would touch the parent's file."""
    _kept.extend(inherited)


def _before() -> None:
    _paused[:] = list(_living)
    for database in _paused:
        database.pause_for_fork()


def _in_parent() -> None:
    while _paused:
        _paused.pop().go_on_in_parent()


def _in_child() -> None:
    while _paused:
        _paused.pop().start_in_child()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
