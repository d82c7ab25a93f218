"""The feed of changed runs. A position is the feed's identity and the number of the last change it includes."""

from __future__ import annotations

import sqlite3

from daglens.storage.errors import InvalidName
from daglens.storage.records import RunChanges

_FEED = "SELECT identity, last_change FROM run_feed WHERE only = 1"

_CHANGES = """
SELECT change_number, run_id, 0 FROM runs WHERE change_number > :after
UNION ALL
SELECT change_number, run_id, 1 FROM deleted_runs WHERE change_number > :after
ORDER BY change_number LIMIT :limit
"""


def read_changes(connection: sqlite3.Connection, after: str | None, limit: int) -> RunChanges:
    """See RunStorage.changes. The connection is in a transaction."""
    identity, last = connection.execute(_FEED).fetchone()
    if after is None:
        return RunChanges((), (), f"{identity}-{last}", has_more=False)
    name, _, digits = after.partition("-")
    if name != identity or not (digits.isascii() and digits.isdecimal()) or len(digits) > 19 or int(digits) > last:
        raise InvalidName("This is no position in the changes of this storage.")
    limit = max(0, limit)
    rows = connection.execute(_CHANGES, {"after": int(digits), "limit": limit + 1}).fetchall()
    has_more = len(rows) > limit
    rows = rows[:limit]
    if has_more:
        last = rows[-1][0] if rows else int(digits)
    return RunChanges(
        [run_id for _, run_id, gone in rows if not gone],
        [run_id for _, run_id, gone in rows if gone],
        f"{identity}-{last}",
        has_more,
    )
