"""Which of several storages failed, where one call asks them all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from daglens.storage.errors import DaglensError, StorageUnavailable

if TYPE_CHECKING:
    from daglens.instance import Instance


def unforeseen(section: str) -> StorageUnavailable:
    """What is raised in place of an error that the contract of the section's storage doesn't foresee.

    A client can't tell a driver's error from a plug-in's bug; the server's log has the traceback of both.
    """
    what = f"{section} failed in a way that its contract doesn't foresee."
    return StorageUnavailable(f"{what} The server's log says more.", foreseen=False)


def naming(instance: Instance) -> Instance:
    """The instance, with storages that say by their errors which of them it was."""
    runs, events, logs, artifacts = (_Named(section, storage) for section, storage in instance.storages.items())
    return replace(
        instance,
        runs=cast(Any, runs),
        events=cast(Any, events),
        compute_logs=cast(Any, logs),
        artifacts=cast(Any, artifacts),
    )


class _Named:
    """A storage, but for how its methods fail."""

    def __init__(self, section: str, storage: Any) -> None:
        self._section = section
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            try:
                return found(*given, **named)
            except DaglensError:
                raise
            except Exception as error:
                raise unforeseen(self._section) from error

        return call
