"""Why a compute log isn't there: the one place where every way to read one asks."""

from __future__ import annotations

from daglens.resolvers.calls import StorageCalls
from daglens.storage import missing_logs
from daglens.storage.errors import LogUnavailable
from daglens.storage.missing_logs import WAITED_FOR, in_shared_log
from daglens.storage.records import LogKey, LogUnavailableReason

__all__ = ["WAITED_FOR", "explained", "in_shared_log"]


async def explained(calls: StorageCalls, key: LogKey, error: LogUnavailable) -> LogUnavailable:
    """The error of a read, with the better reason that the event log knows; see storage/missing_logs.py.

    One read of the event log, and only for NOT_CAPTURED.

    Raises:
        StorageUnavailable
    """
    if error.reason != LogUnavailableReason.NOT_CAPTURED:
        return error
    logs = calls.instance.compute_logs
    return await calls.events(lambda events: missing_logs.explained(events, logs, key, error))
