"""The feed of changed runs. A position is the feed's identity and the number of the last change it includes.

Numbers are given out under the lock of the feed's row, as the last thing that a transaction does; so who sees n has
seen everything below n, also of transactions that overlap.
"""

from __future__ import annotations

from daglens.storage.errors import InvalidName
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.records import RunChanges

_FEED = 'SELECT identity, last_change FROM {s}.run_feed WHERE "only" = 1'

# One statement, so one moment.
_CHANGES = """
SELECT f.identity, f.last_change, c.change_number, c.run_id, c.gone FROM {s}.run_feed AS f LEFT JOIN (
    (SELECT change_number, run_id, false AS gone FROM {s}.runs WHERE change_number > %(after)s
    ORDER BY change_number LIMIT %(limit)s)
    UNION ALL
    (SELECT change_number, run_id, true FROM {s}.deleted_runs WHERE change_number > %(after)s
    ORDER BY change_number LIMIT %(limit)s)
    ORDER BY change_number LIMIT %(limit)s
) AS c ON true WHERE f."only" = 1
"""


def read_changes(database: PostgresDatabase, after: str | None, limit: int) -> RunChanges:
    """See RunStorage.changes."""
    if after is None:
        identity, last = database.read(_FEED, {})[0]
        return RunChanges((), (), f"{identity}-{last}", has_more=False)
    name, _, digits = after.partition("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise InvalidName("This is no position in the changes of this storage.")
    limit = max(0, limit)
    rows = database.read(_CHANGES, {"after": int(digits), "limit": limit + 1})
    identity, last = rows[0][:2]
    if name != identity or int(digits) > last:
        raise InvalidName("This is no position in the changes of this storage.")
    changes = sorted(row[2:] for row in rows if row[2] is not None)
    has_more = len(changes) > limit
    changes = changes[:limit]
    if has_more:
        last = changes[-1][0] if changes else int(digits)
    return RunChanges(
        [run_id for _, run_id, gone in changes if not gone],
        [run_id for _, run_id, gone in changes if gone],
        f"{identity}-{last}",
        has_more,
    )
