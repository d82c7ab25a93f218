"""What moves a run row: projection and the numbers of changes. All inside a transaction that has the write lock."""

from __future__ import annotations

import sqlite3

from daglens.storage.fold import project
from daglens.storage.records import RunParts, RunRecord, RunState
from daglens.storage.sql.rows import run_columns, run_of

_SELECT_BARE = f"SELECT {run_columns(RunParts.NONE)} FROM runs WHERE run_id = ?"

# Numbers are given out under the write lock, so a reader that sees n has seen everything below n.
_NEXT_CHANGES = "UPDATE run_feed SET last_change = last_change + ? WHERE only = 1 RETURNING last_change"

_MOVE = """
UPDATE runs SET status = ?, started_at_us = ?, ended_at_us = ?, presumed = ?, projected_seq = ?,
    updated_at_us = max(updated_at_us, ?), change_number = ?
WHERE run_id = ?
"""

_MOVE_SEQ = "UPDATE runs SET projected_seq = ? WHERE run_id = ?"


def next_changes(connection: sqlite3.Connection, count: int = 1) -> int:
    """Take `count` numbers of changes; the first of them."""
    rows = connection.execute(_NEXT_CHANGES, (count,)).fetchall()
    last: int = rows[0][0]
    return last - count + 1


def bare_run(connection: sqlite3.Connection, run_id: str) -> RunRecord | None:
    """The run without tags and configuration."""
    row = connection.execute(_SELECT_BARE, (run_id,)).fetchone()
    return None if row is None else run_of(row, ())


def project_row(connection: sqlite3.Connection, run_id: str, state: RunState, now_us: int) -> bool:
    """Write to the run row what its log says (`fold.project`); False when there is no such row."""
    run = bare_run(connection, run_id)
    if run is None:
        return False
    move = project(run, state)
    if move is None:
        return True
    if not move.changed:
        connection.execute(_MOVE_SEQ, (move.projected_seq, run_id))
        return True
    connection.execute(
        _MOVE,
        (
            move.status.value,
            move.started_at_us,
            move.ended_at_us,
            move.presumed,
            move.projected_seq,
            now_us,
            next_changes(connection),
            run_id,
        ),
    )
    return True
