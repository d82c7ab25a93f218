"""Closing and removing logs, inside a transaction that has the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from daglens.storage.contract import TOMBSTONE_DAYS
from daglens.storage.random_ids import random_id
from daglens.storage.sql.rows import may_be_stored
from daglens.storage.sqlite.append import INSERT_HEAD

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000

_MAKE_HEAD = INSERT_HEAD + "ON CONFLICT (run_id) DO NOTHING"

_CLOSE = "UPDATE event_heads SET deleted_at_us = ? WHERE run_id = ? AND deleted_at_us IS NULL"

_CLOSED_KEY = "SELECT run_key FROM event_heads WHERE run_id = ? AND deleted_at_us IS NOT NULL"

# seq is dense, and deletion begins at the front.
_DELETE_FIRST = """
DELETE FROM events WHERE run_key = :run
AND seq < (SELECT seq FROM events WHERE run_key = :run ORDER BY seq LIMIT 1) + :most
"""

_DELETE_STEPS = "DELETE FROM event_steps WHERE run_key = ?"

# A log that still has events waits for its deletion to be finished: its number must not be given to another run.
_DROP_TOMBSTONES = """
DELETE FROM event_heads WHERE deleted_at_us <= ?
AND NOT EXISTS (SELECT 1 FROM events WHERE events.run_key = event_heads.run_key)
AND NOT EXISTS (SELECT 1 FROM event_steps WHERE event_steps.run_key = event_heads.run_key)
"""

_DROP_TOMBSTONE_OF = f"{_DROP_TOMBSTONES} AND run_id = ?"


def close_heads(connection: sqlite3.Connection, run_ids: Sequence[str], now_us: int) -> None:
    """Mark the heads deleted, made where there is none. An id that no run can have needs no mark."""
    run_ids = [run_id for run_id in run_ids if may_be_stored(run_id)]
    connection.executemany(_MAKE_HEAD, [(run_id, random_id(8)) for run_id in run_ids])
    connection.executemany(_CLOSE, [(now_us, run_id) for run_id in run_ids])


def drop_old_tombstone(connection: sqlite3.Connection, run_id: str, now_us: int) -> None:
    """Remove the head of a run, if it was deleted more than 90 days ago."""
    connection.execute(_DROP_TOMBSTONE_OF, (now_us - TOMBSTONE_US, run_id))


def delete_events(connection: sqlite3.Connection, run_id: str, max_events: int, now_us: int) -> int:
    """Remove the first `max_events` events of a closed log; how many went. With the last its steps go.

    Tombstones of runs that were deleted more than 90 days ago go, too.
    """
    connection.execute(_DROP_TOMBSTONES, (now_us - TOMBSTONE_US,))
    row = connection.execute(_CLOSED_KEY, (run_id,)).fetchone() if may_be_stored(run_id) else None
    if row is None:
        return 0
    (run_key,) = row
    gone = connection.execute(_DELETE_FIRST, {"run": run_key, "most": max(0, max_events)}).rowcount
    if gone < max_events:
        connection.execute(_DELETE_STEPS, (run_key,))
    return gone
