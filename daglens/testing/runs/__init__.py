"""The behaviour of a run storage as a test suite, cut by topic.

Subclass `RunStorageConformance` as a class `Test…` and give it the fixture `storage`.
"""

from __future__ import annotations

from daglens.testing.runs.adding import RunAdding
from daglens.testing.runs.basics import RunStorageBasics
from daglens.testing.runs.changes import RunChangesTopic
from daglens.testing.runs.deletion import RunDeletion, RunTombstoneExpiry
from daglens.testing.runs.filtering import RunFiltering
from daglens.testing.runs.hostile_names import RunHostileNames
from daglens.testing.runs.leases import RunLeases
from daglens.testing.runs.paging import RunPaging
from daglens.testing.runs.projection import RunProjection
from daglens.testing.runs.tags import RunTags

__all__ = [
    "RunAdding",
    "RunChangesTopic",
    "RunDeletion",
    "RunFiltering",
    "RunHostileNames",
    "RunLeases",
    "RunPaging",
    "RunProjection",
    "RunStorageBasics",
    "RunStorageConformance",
    "RunTags",
    "RunTombstoneExpiry",
]


class RunStorageConformance(
    RunStorageBasics,
    RunAdding,
    RunPaging,
    RunFiltering,
    RunTags,
    RunProjection,
    RunChangesTopic,
    RunDeletion,
    RunHostileNames,
):
    """Everything that `RunStorage` promises; `RunTombstoneExpiry`, and `RunLeases` for a storage that
    offers leases, can be added where the storage's clock can be set."""
