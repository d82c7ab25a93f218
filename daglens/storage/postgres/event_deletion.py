"""Closing and removing logs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from daglens.storage.contract import TOMBSTONE_DAYS
from daglens.storage.postgres.append import INSERT_HEADS
from daglens.storage.postgres.database import PostgresDatabase, Transaction
from daglens.storage.postgres.texts import text_array
from daglens.storage.sql.rows import may_be_stored, texts_that_may_be_stored

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000

# In order of the id, so that two that close the same runs never wait for each other.
_CLOSE = (
    INSERT_HEADS
    + """
SELECT 1 FROM {s}.event_heads WHERE run_id = ANY(%(runs)s::text[]) ORDER BY run_id FOR UPDATE;
UPDATE {s}.event_heads SET deleted_at_us = %(now)s
WHERE run_id = ANY(%(runs)s::text[]) AND deleted_at_us IS NULL
"""
)

# The head's lock: of two that remove the same log, the second must not take the first one's work for the end.
_LOCK_CLOSED = """
SELECT 1 FROM {s}.event_heads WHERE run_id = %(run)s AND deleted_at_us IS NOT NULL FOR UPDATE;
SELECT h.run_key, coalesce((SELECT min(e.seq) FROM {s}.events AS e WHERE e.run_key = h.run_key), 0)
FROM {s}.event_heads AS h WHERE h.run_id = %(run)s AND h.deleted_at_us IS NOT NULL
"""

# seq is dense, and deletion begins at the front.
_DELETE_FIRST = """
WITH gone AS (
    DELETE FROM {s}.events WHERE run_key = %(run_key)s AND seq < %(first)s + %(most)s RETURNING 1
)
SELECT count(*) FROM gone
"""

_DELETE_STEPS = "DELETE FROM {s}.event_steps WHERE run_key = %(run_key)s"

# A log that still has events waits for its deletion to be finished.
_DROP_TOMBSTONES = """
DELETE FROM {s}.event_heads AS h WHERE h.deleted_at_us <= %(oldest)s
AND NOT EXISTS (SELECT 1 FROM {s}.events AS e WHERE e.run_key = h.run_key)
AND NOT EXISTS (SELECT 1 FROM {s}.event_steps AS t WHERE t.run_key = h.run_key)
"""

_DROP_TOMBSTONE_OF = f"{_DROP_TOMBSTONES} AND h.run_id = %(run)s"


def close_heads(database: PostgresDatabase, run_ids: Sequence[str], now_us: int) -> list[str]:
    """Mark the heads deleted, made where there is none; the ids that a run can have."""
    ids = texts_that_may_be_stored(run_ids)
    if ids:
        made = text_array([secrets.token_hex(8) for _ in ids])
        database.write(_CLOSE, {"runs": text_array(ids), "incarnations": made, "now": now_us}, repeatable=True)
    return ids


def drop_old_tombstone(database: PostgresDatabase, run_id: str, now_us: int) -> None:
    """Remove the head of a run, if it was deleted more than 90 days ago."""
    database.write(_DROP_TOMBSTONE_OF, {"run": run_id, "oldest": now_us - TOMBSTONE_US}, repeatable=True)


def delete_events(database: PostgresDatabase, run_id: str, max_events: int, now_us: int) -> int:
    """Remove the first `max_events` events of a closed log, and its steps with the last; how many events went.

    Tombstones of runs that were deleted more than 90 days ago go, too.
    """
    database.write(_DROP_TOMBSTONES, {"oldest": now_us - TOMBSTONE_US}, repeatable=True)
    if not may_be_stored(run_id):
        return 0

    def remove(transaction: Transaction) -> int:
        rows = transaction.run(_LOCK_CLOSED, {"run": run_id})
        if not rows:
            return 0
        run_key, first = rows[0]
        values = {"run_key": run_key, "first": first, "most": max(0, max_events)}
        gone: int = transaction.run(_DELETE_FIRST, values)[0][0]
        if gone < max_events:
            transaction.commit(_DELETE_STEPS, values)
        return gone

    return database.transact(remove, repeatable=True)
