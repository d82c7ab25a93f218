"""The feed of changed runs (feed_positions.py)."""

from __future__ import annotations

import sqlite3

from daglens.storage.feed_positions import FeedPosition
from daglens.storage.records import RunChanges

_FEED = "SELECT identity, last_change FROM run_feed WHERE only = 1"

_CHANGES = """
SELECT change_number, run_id, 0 FROM runs WHERE change_number > :after
UNION ALL
SELECT change_number, run_id, 1 FROM deleted_runs WHERE change_number > :after
ORDER BY change_number LIMIT :limit
"""


def read_changes(connection: sqlite3.Connection, after: str | None, limit: int, now_us: int) -> RunChanges:
    """See RunStorage.changes. The connection is in a transaction."""
    identity, last = connection.execute(_FEED).fetchone()
    position = FeedPosition.of_now(identity, last, now_us)
    if after is None:
        return RunChanges((), (), str(position), has_more=False)
    since = FeedPosition.parse(after)
    since.check(identity, last, now_us)
    limit = max(0, limit)
    rows = connection.execute(_CHANGES, {"after": since.number, "limit": limit + 1}).fetchall()
    has_more = len(rows) > limit
    rows = rows[:limit]
    if has_more:
        # As old as the one before it: what comes behind it may be.
        position = since._replace(number=rows[-1][0]) if rows else since
    return RunChanges(
        [run_id for _, run_id, gone in rows if not gone],
        [run_id for _, run_id, gone in rows if gone],
        str(position),
        has_more,
    )
