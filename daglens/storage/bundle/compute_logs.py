"""The compute logs of bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daglens.storage.bundle.file import BundledLog, BundleFile
from daglens.storage.bundle.opened import BundleStorage, refuse
from daglens.storage.contract import ComputeLogManager, LogCapture
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import ComputeIO, LogBytes, LogFile, LogKey, LogUnavailableReason


class BundleComputeLogManager(BundleStorage, ComputeLogManager):
    """Logs of bundles, read from their places in the files. Writing and deleting raise ReadOnlyBundle."""

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        """See ComputeLogManager."""
        if start < 0:
            raise ValueError(f"A log begins at byte 0, not {start}.")
        bundle = self._by_run.get(key.run_id)
        place = (key.step_key, key.attempt, 0 if io is ComputeIO.STDOUT else 1)
        log = None if bundle is None else bundle.file.logs.get(place)
        if bundle is None or log is None:
            raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED, "It is not in the bundle.")
        line = log.line
        data = bundle.file.log_bytes(log, start, max_bytes)
        return LogBytes(data, line.size_bytes, line.complete, line.truncated)

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        """See ComputeLogManager."""
        bundles = {run_id: self._by_run.get(run_id) for run_id in run_ids}
        return {
            run_id: [] if bundle is None else [_listed(bundle.file, log) for log in bundle.file.logs.values()]
            for run_id, bundle in bundles.items()
        }

    def capture(self, key: LogKey) -> LogCapture | None:
        """Raises ReadOnlyBundle."""
        refuse(key.run_id)

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        """Raises ReadOnlyBundle."""
        refuse(key.run_id)

    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        """Raises ReadOnlyBundle."""
        refuse(key.run_id)

    def delete(self, run_id: str) -> int:
        """Raises ReadOnlyBundle."""
        refuse(run_id)


def _listed(file: BundleFile, log: BundledLog) -> LogFile:
    line = log.line
    location = f"{file.path}: {line.io} of {line.key.step_key}, attempt {line.key.attempt}"
    return LogFile(line.key, line.io, line.size_bytes, line.complete, line.truncated, location)
