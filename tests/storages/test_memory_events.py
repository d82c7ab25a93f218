"""The in-memory event log storage keeps the contract."""

from __future__ import annotations

import pytest

from daglens.storage.memory import InMemoryEventLogStorage
from daglens.testing import Clock, EventLogStorageConformance, EventTombstoneExpiry


class TestInMemoryEventLogStorage(EventLogStorageConformance):
    @pytest.fixture
    def storage(self):
        return InMemoryEventLogStorage()


class TestInMemoryEventTombstones(EventTombstoneExpiry):
    @pytest.fixture
    def storage(self, clock: Clock):
        return InMemoryEventLogStorage(clock=clock)
