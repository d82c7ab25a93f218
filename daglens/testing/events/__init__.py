"""The behaviour of an event log storage as a test suite, cut by topic.

Subclass `EventLogStorageConformance` as a class `Test…` and give it the fixture `storage`.
"""

from __future__ import annotations

from daglens.testing.events.appending import EventAppending
from daglens.testing.events.basics import EventLogStorageBasics
from daglens.testing.events.concurrency import EventConcurrency
from daglens.testing.events.deletion import EventDeletion, EventTombstoneExpiry
from daglens.testing.events.duplicates import EventDuplicates
from daglens.testing.events.filtering import EventFiltering
from daglens.testing.events.folding import EventFolding
from daglens.testing.events.hostile_names import EventHostileNames
from daglens.testing.events.reading import EventReading
from daglens.testing.events.steps import EventSteps
from daglens.testing.events.watching import EventWatching

__all__ = [
    "EventAppending",
    "EventConcurrency",
    "EventDeletion",
    "EventDuplicates",
    "EventFiltering",
    "EventFolding",
    "EventHostileNames",
    "EventLogStorageBasics",
    "EventLogStorageConformance",
    "EventReading",
    "EventSteps",
    "EventTombstoneExpiry",
    "EventWatching",
]


class EventLogStorageConformance(
    EventLogStorageBasics,
    EventAppending,
    EventDuplicates,
    EventReading,
    EventFiltering,
    EventFolding,
    EventSteps,
    EventDeletion,
    EventWatching,
    EventConcurrency,
    EventHostileNames,
):
    """Everything that `EventLogStorage` promises; `EventTombstoneExpiry` can be added where the storage's clock can be
    set."""
