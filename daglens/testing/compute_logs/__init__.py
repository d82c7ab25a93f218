"""The behaviour of a compute log manager as a test suite, cut by topic.

Subclass `ComputeLogConformance` as a class `Test…` and give it the fixture `compute_logs`. The suite is for managers
that keep logs (`capture` gives files).
"""

from __future__ import annotations

from daglens.testing.compute_logs.appending import LogAppending
from daglens.testing.compute_logs.basics import LogManagerBasics
from daglens.testing.compute_logs.capturing import LogCapturing
from daglens.testing.compute_logs.closing import LogClosing
from daglens.testing.compute_logs.deletion import LogDeletion
from daglens.testing.compute_logs.hostile_names import LogHostileNames
from daglens.testing.compute_logs.listing import LogListing
from daglens.testing.compute_logs.reading import LogReading

__all__ = [
    "ComputeLogConformance",
    "LogAppending",
    "LogCapturing",
    "LogClosing",
    "LogDeletion",
    "LogHostileNames",
    "LogListing",
    "LogManagerBasics",
    "LogReading",
]


class ComputeLogConformance(
    LogManagerBasics,
    LogCapturing,
    LogAppending,
    LogReading,
    LogClosing,
    LogListing,
    LogDeletion,
    LogHostileNames,
):
    """Everything that `ComputeLogManager` promises."""
