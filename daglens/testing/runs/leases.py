"""Leases, for run storages that offer them (`daglens.storage.contract.Leases`)."""

from __future__ import annotations

from functools import partial

import pytest

from daglens.storage.contract import Leases
from daglens.storage.errors import InvalidName
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.threads import Clock, together

_DAY_S = 86_400.0


class RunLeases:
    """`lease`. For storages whose clock can be set: a subclass gives the fixture `clock`, too, which `storage` uses."""

    @pytest.fixture
    def storage(self) -> Leases:
        """An empty storage, for one test."""
        raise NotImplementedError("Override the fixture `storage`: it gives a new, empty run storage.")

    @pytest.fixture
    def second(self, storage: Leases) -> Leases:
        """Another instance on the same data, as another process has; override it where there can be one."""
        return storage

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock that `storage` was made with."""
        return Clock()

    def test_it_is_a_storage_with_leases(self, storage: Leases) -> None:
        """It has the method."""
        assert isinstance(storage, Leases)

    def test_one_holder_at_a_time(self, storage: Leases, second: Leases) -> None:
        """Who holds it can keep it, as often as it likes; everybody else is told that it is taken."""
        assert storage.lease("retention", "a", 60) is True
        assert second.lease("retention", "b", 60) is False
        assert storage.lease("retention", "a", 60) is True
        assert second.lease("retention", "a", 60) is True
        assert second.lease("retention", "b", 60) is False

    def test_of_many_who_ask_at_once_one_is_told_yes(self, storage: Leases, second: Leases) -> None:
        """However they overlap."""
        for name in ("l1", "l2", "l3"):
            asking = [partial((storage, second)[n % 2].lease, name, f"holder {n}", 60) for n in range(8)]
            assert sum(together(asking)) == 1

    def test_names_are_kept_apart(self, storage: Leases) -> None:
        """Each name is a lease of its own, whatever its case and letters."""
        for n, name in enumerate(("a", "A", "ä", "a ", "retention:1")):
            assert storage.lease(name, str(n), 60) is True
            assert storage.lease(name, "somebody else", 60) is False

    def test_it_ends_with_its_time(self, storage: Leases, second: Leases, clock: Clock) -> None:
        """Not kept, it is free when its time is over, by the storage's clock, and not before."""
        assert storage.lease("retention", "a", 2 * _DAY_S) is True
        clock.advance_days(1.5)
        assert second.lease("retention", "b", 60) is False
        clock.advance_days(0.5)
        assert second.lease("retention", "b", 60) is True
        assert storage.lease("retention", "a", 60) is False

    def test_keeping_prolongs(self, storage: Leases, clock: Clock) -> None:
        """Its time counts from the last call of the holder; a call of somebody else changes nothing."""
        assert storage.lease("retention", "a", _DAY_S) is True
        clock.advance_days(0.75)
        assert storage.lease("retention", "a", _DAY_S) is True
        clock.advance_days(0.75)
        assert storage.lease("retention", "b", 9 * _DAY_S) is False
        clock.advance_days(0.25)
        assert storage.lease("retention", "b", _DAY_S) is True

    def test_giving_back(self, storage: Leases, second: Leases) -> None:
        """The holder gives it back with no time at all; who does not hold it can't."""
        storage.lease("retention", "a", 60)
        assert second.lease("retention", "b", 0) is False
        assert second.lease("retention", "b", 60) is False
        assert storage.lease("retention", "a", 0) is True
        assert second.lease("retention", "b", 60) is True

    def test_parts_of_a_second(self, storage: Leases, clock: Clock) -> None:
        """A time need not be whole seconds."""
        storage.lease("retention", "a", 0.5)
        assert storage.lease("retention", "b", 60) is False
        clock.advance_days(0.5 / _DAY_S)
        assert storage.lease("retention", "b", 60) is True

    def test_impossible_lease_names(self, storage: Leases) -> None:
        """What can't be a name is refused, as a lease and as a holder."""
        for name in IMPOSSIBLE_NAMES:
            with pytest.raises(InvalidName):
                storage.lease(name, "a", 60)
            with pytest.raises(InvalidName):
                storage.lease("retention", name, 60)
        assert storage.lease("retention", "a", 60) is True
