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
pytest.register_assert_rewrite("daglens.testing.runs", "daglens.testing.events", "daglens.testing.compute_logs")

if TYPE_CHECKING:
    from daglens.testing.events import EventLogStorageConformance, EventTombstoneExpiry
    from daglens.testing.runs import RunStorageConformance, RunTombstoneExpiry
    from daglens.testing.threads import Clock

__all__ = [
    "Clock",
    "EventLogStorageConformance",
    "EventTombstoneExpiry",
    "RunStorageConformance",
    "RunTombstoneExpiry",
]

_MODULES = {
    "Clock": "daglens.testing.threads",
    "EventLogStorageConformance": "daglens.testing.events",
    "EventTombstoneExpiry": "daglens.testing.events",
    "RunStorageConformance": "daglens.testing.runs",
    "RunTombstoneExpiry": "daglens.testing.runs",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
