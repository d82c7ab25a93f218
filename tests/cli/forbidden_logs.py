"""A compute log manager whose store has stopped to list its logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import LogFile, LogUnavailableReason


class ForbiddenLogs(LocalComputeLogManager):
    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        """See ComputeLogManager."""
        raise LogUnavailable(LogUnavailableReason.FORBIDDEN, "The bucket is closed.")
