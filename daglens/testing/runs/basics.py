"""What every storage has."""

from __future__ import annotations

from dataclasses import is_dataclass

from daglens.storage.contract import RunStorage
from daglens.storage.records import Health
from daglens.testing.runs.topic import RunTopic


class RunStorageBasics(RunTopic):
    """Configuration, health, closing."""

    def test_fulfils_the_contract(self, storage: RunStorage) -> None:
        """It has the methods of a run storage, a configuration that is a dataclass, and is made of one."""
        assert isinstance(storage, RunStorage)
        assert is_dataclass(storage.Config)
        assert callable(storage.from_config)

    def test_is_healthy(self, storage: RunStorage) -> None:
        """A storage that works says so."""
        assert storage.health() == Health(True)

    def test_takes_at_least_one_call(self, storage: RunStorage) -> None:
        """`pool_size` is a whole number from 1."""
        assert isinstance(storage.pool_size, int)
        assert storage.pool_size >= 1

    def test_closes_twice(self, storage: RunStorage) -> None:
        """Closing is safe to repeat."""
        storage.close()
        storage.close()
