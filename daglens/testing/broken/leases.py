"""Run storages with one mistake each about leases."""

from __future__ import annotations

from daglens.storage.memory import InMemoryRunStorage
from daglens.testing.broken.pause import others_run


class AlwaysYes(InMemoryRunStorage):
    """Whoever asks is told that it is theirs."""

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        super().lease(name, holder, ttl_s)
        return True


class LooksAndTakesLater(InMemoryRunStorage):
    """Looks whether a lease is free, and takes it in a second step."""

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        by, until_us = self._leases.get(name, (holder, 0))
        others_run()
        if by != holder and until_us > self.now_us():
            return False
        self._leases.pop(name, None)
        return super().lease(name, holder, ttl_s)


class LeasesForEver(InMemoryRunStorage):
    """A holder that died keeps its lease."""

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        return super().lease(name, holder, 10**9 if ttl_s else 0)


class OneLease(InMemoryRunStorage):
    """All names are one lease."""

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        return super().lease("the lease" if name.strip() == name else name, holder, ttl_s)


class KeepingIsNoNews(InMemoryRunStorage):
    """Who has it keeps the time it was given first."""

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        by, until_us = self._leases.get(name, ("", 0))
        if by == holder and until_us > self.now_us() and ttl_s:
            return True
        return super().lease(name, holder, ttl_s)


class WholeSeconds(InMemoryRunStorage):
    """Cuts parts of a second off."""

    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        return super().lease(name, holder, int(ttl_s))
