"""The feed of changed runs (feed_positions.py).

Numbers are given out under the lock of the feed's row, as the last thing that a transaction does; so who sees n has
seen everything below n, also of transactions that overlap.
"""

from __future__ import annotations

from daglens.storage.feed_positions import FeedPosition
from daglens.storage.postgres.clock import NOW_US
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.records import RunChanges

_FEED = f'SELECT identity, last_change, {NOW_US} FROM {{s}}.run_feed WHERE "only" = 1'

# One statement, so one moment.
_CHANGES = f"""
SELECT f.identity, f.last_change, {NOW_US}, c.change_number, c.run_id, c.gone FROM {{s}}.run_feed AS f LEFT JOIN (
    (SELECT change_number, run_id, false AS gone FROM {{s}}.runs WHERE change_number > %(after)s
    ORDER BY change_number LIMIT %(limit)s)
    UNION ALL
    (SELECT change_number, run_id, true FROM {{s}}.deleted_runs WHERE change_number > %(after)s
    ORDER BY change_number LIMIT %(limit)s)
    ORDER BY change_number LIMIT %(limit)s
) AS c ON true WHERE f."only" = 1
"""


def read_changes(database: PostgresDatabase, after: str | None, limit: int, now_us: int | None) -> RunChanges:
    """See RunStorage.changes. `now_us` None: the server's clock, without asking for it."""
    if after is None:
        identity, last, server_us = database.read(_FEED, {})[0]
        position = FeedPosition.of_now(identity, last, server_us if now_us is None else now_us)
        return RunChanges((), (), str(position), has_more=False)
    since = FeedPosition.parse(after)
    limit = max(0, limit)
    rows = database.read(_CHANGES, {"after": since.number, "limit": limit + 1})
    identity, last, server_us = rows[0][:3]
    now_us = server_us if now_us is None else now_us
    since.check(identity, last, now_us)
    changes = sorted(row[3:] for row in rows if row[3] is not None)
    has_more = len(changes) > limit
    changes = changes[:limit]
    position = FeedPosition.of_now(identity, last, now_us)
    if has_more:
        # As old as the one before it: what comes behind it may be.
        position = since._replace(number=changes[-1][0]) if changes else since
    return RunChanges(
        [run_id for _, run_id, gone in changes if not gone],
        [run_id for _, run_id, gone in changes if gone],
        str(position),
        has_more,
    )
