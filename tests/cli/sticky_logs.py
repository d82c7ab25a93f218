"""A compute log manager, as somebody else might write one, that can't delete the logs of the run `d40`."""

from __future__ import annotations

from daglens.storage.compute_logs import LocalComputeLogManager


class StickyLogs(LocalComputeLogManager):
    def delete(self, run_id: str) -> int:
        """See ComputeLogManager."""
        if run_id == "d40":
            raise PermissionError("these logs are not\x1b[31m yours")
        return super().delete(run_id)
