"""Calls of the storages, off the event loop: a storage that sleeps holds up only those who ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from daglens.resolvers.checked_storages import checked
from daglens.resolvers.named_failures import unforeseen
from daglens.resolvers.observing import SILENT, Observer
from daglens.resolvers.threads import Threads
from daglens.storage.contract import ArtifactStorage, ComputeLogManager, EventLogStorage, RunStorage, Storage
from daglens.storage.errors import DaglensError
from daglens.storage.records import Health

if TYPE_CHECKING:
    from daglens.instance import Instance

S = TypeVar("S", bound=Storage)
T = TypeVar("T")


class StorageCalls:
    """Calls an instance's four storages in threads, each at most `pool_size` times at once. One per server process."""

    def __init__(self, instance: Instance, observer: Observer = SILENT) -> None:
        """`observer` is told of each call."""
        self.instance = instance
        self.observer = observer
        self._threads: dict[str, Threads] = {}
        self._checked: dict[str, Storage] = {}

    @property
    def threads(self) -> Mapping[str, Threads]:
        """By section of dagster.yaml, of the storages that were called up to now."""
        return dict(self._threads)

    async def runs(self, call: Callable[[RunStorage], T]) -> T:
        """What `call` gives for the run storage.

        Raises:
            DaglensError: What the storage raised, without secrets; StorageUnavailable for anything that the contract
                doesn't foresee; StorageContractBroken for an answer that it rules out.
        """
        return await self._call("run_storage", self.instance.runs, call)

    async def events(self, call: Callable[[EventLogStorage], T]) -> T:
        """What `call` gives for the event log storage; raises as `runs`."""
        return await self._call("event_log_storage", self.instance.events, call)

    async def compute_logs(self, call: Callable[[ComputeLogManager], T]) -> T:
        """What `call` gives for the compute log manager; raises as `runs`."""
        return await self._call("compute_logs", self.instance.compute_logs, call)

    async def artifacts(self, call: Callable[[ArtifactStorage], T]) -> T:
        """What `call` gives for the artifact storage; raises as `runs`."""
        return await self._call("local_artifact_storage", self.instance.artifacts, call)

    async def health(self, section: str) -> Health:
        """Whether the storage of a section answers now. Never raises; says no secrets."""
        storage: Storage = {
            "run_storage": self.instance.runs,
            "event_log_storage": self.instance.events,
            "compute_logs": self.instance.compute_logs,
            "local_artifact_storage": self.instance.artifacts,
        }[section]
        try:
            health = await self._call(section, storage, lambda asked: asked.health())
        except DaglensError as error:
            return Health(False, str(error))
        if health.problem is None:
            return health
        return Health(health.healthy, self.instance.sections[section].clean(health.problem))

    @property
    def least_log_poll_s(self) -> float:
        """See ComputeLogManager.least_poll_s."""
        found = getattr(self.instance.compute_logs, "least_poll_s", 0.0)
        return max(0.0, found) if isinstance(found, int | float) else 0.0

    async def _call(self, section: str, storage: S, call: Callable[[S], T]) -> T:
        threads = self._threads.get(section)
        if threads is None:
            threads = self._threads[section] = Threads(_size(storage), f"daglens {section}")
            self._checked[section] = checked(section, storage)
        asked = cast(S, self._checked[section])
        try:
            with self.observer.storage_call(section, call) as observed:
                return await threads.carry_out(observed, asked)
        except DaglensError as error:
            error.args = (self.instance.sections[section].clean(str(error)),)
            raise
        except Exception as error:
            raise unforeseen(section) from error


def _size(storage: Storage) -> int:
    size = getattr(storage, "pool_size", 1)
    return max(1, size) if isinstance(size, int) else 1
