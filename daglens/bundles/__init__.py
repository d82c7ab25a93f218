"""Run bundles: a run as one file, from an instance and into one (docs/bundles.md)."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

__all__ = ["OnStep", "Part"]


class Part(StrEnum):
    """What an export or import is at."""

    CHECK = "check"
    EVENTS = "events"
    LOGS = "logs"


OnStep = Callable[[Part, int, int], None]
"""Called with the part, how much of it is done and how much there is: events by number, the others by bytes."""
