"""Conformance suites: what the storage contracts promise, as tests that a storage's author subclasses (pytest).

from daglens.testing import RunStorageConformance

class TestMyRunStorage(RunStorageConformance):
    @pytest.fixture
    def storage(self, tmp_path):
        return MyRunStorage(tmp_path)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

# Before the suites are imported: failed assertions in them then say what was compared.
pytest.register_assert_rewrite(
    *(f"daglens.testing.{kind}" for kind in ("runs", "events", "compute_logs", "artifacts")),
)

if TYPE_CHECKING:
    from daglens.testing.artifacts import ArtifactConformance
    from daglens.testing.compute_logs import ComputeLogConformance
    from daglens.testing.events import EventLogStorageConformance, EventTombstoneExpiry
    from daglens.testing.runs import RunLeases, RunStorageConformance, RunTombstoneExpiry
    from daglens.testing.threads import Clock

__all__ = [
    "ArtifactConformance",
    "Clock",
    "ComputeLogConformance",
    "EventLogStorageConformance",
    "EventTombstoneExpiry",
    "RunLeases",
    "RunStorageConformance",
    "RunTombstoneExpiry",
]

_MODULES = {
    "ArtifactConformance": "daglens.testing.artifacts",
    "Clock": "daglens.testing.threads",
    "ComputeLogConformance": "daglens.testing.compute_logs",
    "EventLogStorageConformance": "daglens.testing.events",
    "EventTombstoneExpiry": "daglens.testing.events",
    "RunLeases": "daglens.testing.runs",
    "RunStorageConformance": "daglens.testing.runs",
    "RunTombstoneExpiry": "daglens.testing.runs",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
