"""Runs and events kept in this process's memory: the ephemeral instance, tests, and the shortest storages to read.

One lock per storage; every answer is made under it, so it is of one moment.
"""

from __future__ import annotations

from daglens.storage.memory.events import InMemoryEventLogStorage
from daglens.storage.memory.runs import InMemoryRunStorage

__all__ = ["InMemoryEventLogStorage", "InMemoryRunStorage"]
