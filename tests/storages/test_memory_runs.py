"""The in-memory run storage keeps the contract."""

from __future__ import annotations

import pytest

from daglens.storage.memory import InMemoryRunStorage
from daglens.testing import Clock, RunLeases, RunStorageConformance, RunTombstoneExpiry


class TestInMemoryRunStorage(RunStorageConformance):
    @pytest.fixture
    def storage(self):
        return InMemoryRunStorage()


class TestInMemoryRunTombstones(RunTombstoneExpiry, RunLeases):
    @pytest.fixture
    def storage(self, clock: Clock):
        return InMemoryRunStorage(clock=clock)
