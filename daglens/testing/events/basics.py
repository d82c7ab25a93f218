"""What every storage has."""

from __future__ import annotations

from dataclasses import is_dataclass

from daglens.storage.contract import EventLogStorage
from daglens.storage.memory import InMemoryRunStorage
from daglens.storage.records import Health
from daglens.testing.events.topic import EventTopic


class EventLogStorageBasics(EventTopic):
    """Configuration, health, closing."""

    def test_fulfils_the_contract(self, storage: EventLogStorage) -> None:
        """It has the methods of an event log storage, a configuration that is a dataclass, and is made of one."""
        assert isinstance(storage, EventLogStorage)
        assert is_dataclass(storage.Config)
        assert callable(storage.from_config)

    def test_is_healthy(self, storage: EventLogStorage) -> None:
        """A storage that works says so."""
        assert storage.health() == Health(True)

    def test_takes_at_least_one_call(self, storage: EventLogStorage) -> None:
        """`pool_size` is a whole number from 1."""
        assert isinstance(storage.pool_size, int)
        assert storage.pool_size >= 1

    def test_projects_into_no_strange_storage(self, storage: EventLogStorage) -> None:
        """It doesn't claim to write to a run storage that it knows nothing of."""
        assert storage.projects_into(InMemoryRunStorage()) is False

    def test_closes_twice(self, storage: EventLogStorage) -> None:
        """Closing is safe to repeat."""
        storage.close()
        storage.close()
