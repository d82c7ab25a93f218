"""One append, inside the transaction that has the write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from daglens.storage.drafts import PreparedEvent, without_duplicates
from daglens.storage.errors import RunDeleted, RunFull
from daglens.storage.fold import Tally, fold, step_keys_of, tally
from daglens.storage.random_ids import random_id
from daglens.storage.records import MAX_SEQ, Appended, Head, StepState
from daglens.storage.sql.rows import (
    HEAD_COLUMNS,
    STEP_COLUMNS,
    head_of,
    head_values,
    json_array,
    step_of,
    step_values,
)
from daglens.storage.sqlite.run_rows import project_row

SELECT_HEAD = f"SELECT {HEAD_COLUMNS} FROM event_heads WHERE run_id = ?"

INSERT_HEAD = """
INSERT INTO event_heads (
    run_id, incarnation, last_seq, status, started_at_us, ended_at_us, presumed, state_seq,
    steps_in_progress, steps_succeeded, steps_failed, steps_skipped,
    materializations, expectations, expectations_failed, heard_at_us
) VALUES (?, ?, 0, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL)
"""

_UPDATE_HEAD = """
UPDATE event_heads SET
    last_seq = ?, status = ?, started_at_us = ?, ended_at_us = ?, presumed = ?, state_seq = ?,
    steps_in_progress = ?, steps_succeeded = ?, steps_failed = ?, steps_skipped = ?,
    materializations = ?, expectations = ?, expectations_failed = ?, heard_at_us = ?
WHERE run_key = ?
"""

_MOVE_HEAD = "UPDATE event_heads SET last_seq = ?, heard_at_us = ? WHERE run_key = ?"

_MOVE_COUNTS = """
UPDATE event_heads SET last_seq = ?, heard_at_us = ?, materializations = ?, expectations = ?, expectations_failed = ?
WHERE run_key = ?
"""

_HAS_STEP = "SELECT 1 FROM event_steps WHERE run_key = ? AND step_key = ?"

_COUNT_IN_STEP = """
UPDATE event_steps SET materializations = materializations + ?, expectations = expectations + ?
WHERE run_key = ? AND step_key = ?
"""

_INSERT_EVENT = """
INSERT INTO events (run_key, seq, event_id, event_type, step_key, level, timestamp_us, message, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# CROSS JOIN: the ids given are looked up in the index, not the index in the ids.
_KNOWN_IDS = """
SELECT e.event_id FROM json_each(?) AS given CROSS JOIN events AS e
WHERE e.run_key = ? AND e.event_id = given.value AND e.event_id IS NOT NULL
"""

_SELECT_STEPS = f"""
SELECT {STEP_COLUMNS} FROM event_steps WHERE run_key = ? AND step_key IN (SELECT value FROM json_each(?))
"""

# A table-valued function costs more than all else when there is but one.
_SELECT_STEP = f"SELECT {STEP_COLUMNS} FROM event_steps WHERE run_key = ? AND step_key = ?"

_UPSERT_STEP = f"""
INSERT INTO event_steps (run_key, {STEP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_key, step_key) DO UPDATE SET status = excluded.status, spans = excluded.spans,
    materializations = excluded.materializations, expectations = excluded.expectations
"""


class Batch(NamedTuple):
    """What one append is to store.

    Attributes:
        events: With no event id twice.
        given: How many drafts there were, before duplicates among them were left out.
        heard: The batch is a sign of life of the recorder.
    """

    run_id: str
    events: Sequence[PreparedEvent]
    given: int
    now_us: int
    heard: bool


def append_batch(connection: sqlite3.Connection, batch: Batch, *, all_new: bool) -> Appended:
    """Store a batch and move head, counts, steps and run row with it.

    Args:
        all_new: Trust that the run has none of the event ids; which saves looking, and is nearly always so.

    Raises:
        sqlite3.IntegrityError: `all_new` was wrong. The caller undoes the transaction and asks again without.
        RunDeleted: The head is closed.
        RunFull: There are too many. With `all_new` some of them may be duplicates.
    """
    row = connection.execute(SELECT_HEAD, (batch.run_id,)).fetchone()
    if row is not None and all_new and (counted := tally(batch.events)) is not None:
        appended = _append_counting(connection, batch, row, counted)
        if appended is not None:
            return appended
    run_key, head = _made_head(connection, batch.run_id) if row is None else (row[0], head_of(row))
    if head.deleted:
        raise RunDeleted(batch.run_id)
    new = batch.events if all_new else without_duplicates(batch.events, _known_ids(connection, run_key, batch.events))
    if head.last_seq + len(new) > MAX_SEQ:
        raise RunFull(f"It has {head.last_seq} already, and {len(new)} were given.")
    keys = step_keys_of(new)
    steps = _steps(connection, run_key, batch.run_id, keys) if keys and head.last_seq else {}
    # max: the clock was read before the lock was had, and another writer may have been heard later.
    heard_at_us = max(batch.now_us, head.heard_at_us or 0) if batch.heard else None
    folded = fold(head, steps, new, heard_at_us)
    _insert(connection, run_key, head.last_seq, new)
    if folded.steps:
        connection.executemany(_UPSERT_STEP, [(run_key, *step_values(step)) for step in folded.steps.values()])
    connection.execute(_UPDATE_HEAD, (*head_values(folded.head), run_key))
    projected = False
    if folded.head.state.state_seq > head.state.state_seq:
        projected = project_row(connection, batch.run_id, folded.head.state, batch.now_us)
    return Appended(
        accepted=len(new),
        duplicates=batch.given - len(new),
        first_seq=head.last_seq + 1 if new else None,
        last_seq=folded.head.last_seq if new else None,
        head=folded.head,
        projected=projected,
    )


def _append_counting(
    connection: sqlite3.Connection, batch: Batch, row: tuple[Any, ...], counted: Tally
) -> Appended | None:
    """Store a batch that only counts, from the head's row as it is; None when `fold` is needed after all.

    Most appends are of this kind, and with one event each, folding takes as long as storing.
    """
    run_key, last_before = row[0], row[3]
    count = len(batch.events)
    is_deleted = row[17] is not None
    if is_deleted or last_before + count > MAX_SEQ or not _has_steps(connection, run_key, counted.step_keys):
        return None
    # max: the clock was read before the lock was had, and another writer may have been heard later.
    heard_at_us = max(batch.now_us, row[16] or 0) if batch.heard else row[16]
    last = last_before + count
    _insert(connection, run_key, last_before, batch.events)
    if counted.counts:
        counts = (
            row[13] + counted.materializations,
            row[14] + counted.expectations,
            row[15] + counted.expectations_failed,
        )
        connection.execute(_MOVE_COUNTS, (last, heard_at_us, *counts, run_key))
        connection.executemany(
            _COUNT_IN_STEP, [(made, met, run_key, key) for key, (made, met) in counted.by_step.items()]
        )
        row = (*row[:13], *counts, *row[16:])
    else:
        connection.execute(_MOVE_HEAD, (last, heard_at_us, run_key))
    head = head_of((*row[:3], last, *row[4:16], heard_at_us, None))
    return Appended(count, batch.given - count, last_before + 1, last, head)


def _has_steps(connection: sqlite3.Connection, run_key: int, keys: Sequence[str]) -> bool:
    return all(connection.execute(_HAS_STEP, (run_key, key)).fetchone() for key in keys)


def _insert(connection: sqlite3.Connection, run_key: int, last_before: int, events: Sequence[PreparedEvent]) -> None:
    if len(events) == 1:
        (e,) = events
        values = (e.event_id, e.event_type, e.step_key, e.level, e.timestamp_us, e.message, e.data_json)
        connection.execute(_INSERT_EVENT, (run_key, last_before + 1, *values))
        return
    connection.executemany(
        _INSERT_EVENT,
        [
            (run_key, seq, e.event_id, e.event_type, e.step_key, e.level, e.timestamp_us, e.message, e.data_json)
            for seq, e in enumerate(events, last_before + 1)
        ],
    )


def _made_head(connection: sqlite3.Connection, run_id: str) -> tuple[int, Head]:
    incarnation = random_id(8)
    run_key = connection.execute(INSERT_HEAD, (run_id, incarnation)).lastrowid
    assert run_key is not None
    return run_key, Head(run_id, incarnation)


def _known_ids(connection: sqlite3.Connection, run_key: int, events: Sequence[PreparedEvent]) -> set[str]:
    ids = [event.event_id for event in events if event.event_id is not None]
    if not ids:
        return set()
    return {event_id for (event_id,) in connection.execute(_KNOWN_IDS, (json_array(ids), run_key))}


def _steps(connection: sqlite3.Connection, run_key: int, run_id: str, keys: Sequence[str]) -> dict[str, StepState]:
    if len(keys) == 1:
        rows = connection.execute(_SELECT_STEP, (run_key, keys[0]))
    else:
        rows = connection.execute(_SELECT_STEPS, (run_key, json_array(keys)))
    return {row[0]: step_of(run_id, row) for row in rows}
