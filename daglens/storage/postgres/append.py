"""One append. What only counts goes by one statement; what moves states is read and written under the head's lock."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from daglens.storage.drafts import PreparedEvent, without_duplicates
from daglens.storage.errors import RunDeleted, RunFull
from daglens.storage.event_types import STATUS_BY_EVENT_TYPE
from daglens.storage.fold import Tally, fold, project, step_keys_of
from daglens.storage.postgres.database import PostgresDatabase, Transaction
from daglens.storage.postgres.run_rows import MOVE, MOVE_SEQ, move_values
from daglens.storage.postgres.texts import number_array, text_array
from daglens.storage.records import MAX_SEQ, Appended, Head, RunParts, RunRecord, StepState
from daglens.storage.sql.rows import HEAD_COLUMNS, head_of, head_values, run_columns, run_of, step_of, step_values

_EVENT_COLUMNS = "run_key, seq, event_id, event_type, step_key, level, timestamp_us, message, data"

_GIVEN = """unnest(%(ids)s::text[], %(types)s::text[], %(steps)s::text[], %(levels)s::smallint[], %(times)s::bigint[],
        %(messages)s::text[], %(data)s::text[])
    WITH ORDINALITY AS given(event_id, event_type, step_key, level, timestamp_us, message, data, n)"""

# Steps are only ever added until the head is closed: one that an older snapshot shows is there.
_IF_STEPS_ARE_THERE = """
        AND (SELECT count(*) FROM {s}.event_steps AS s WHERE s.run_key = h.run_key
            AND s.step_key = ANY(%(keys)s::text[])) = %(key_count)s::bigint"""

_ADD_COUNTS = """, materializations = materializations + %(materializations)s::bigint,
        expectations = expectations + %(expectations)s::bigint,
        expectations_failed = expectations_failed + %(expectations_failed)s::bigint"""

# An update counts on from the newest version of a step, also when that is younger than the snapshot.
_COUNT_IN_STEPS = """, counted AS (
    UPDATE {s}.event_steps AS s SET materializations = s.materializations + given.materializations,
        expectations = s.expectations + given.expectations
    FROM head, unnest(%(counted)s::text[], %(step_materializations)s::bigint[], %(step_expectations)s::bigint[])
        AS given(step_key, materializations, expectations)
    WHERE s.run_key = head.run_key AND s.step_key = given.step_key
)"""

_MANY = f"""SELECT head.run_key, head.last_seq - %(count)s::bigint + given.n, given.event_id, given.event_type,
        given.step_key, given.level, given.timestamp_us, given.message, given.data
    FROM head, {_GIVEN}"""

_ONE = """SELECT head.run_key, head.last_seq, %(ids)s::text, %(types)s::text, %(steps)s::text,
        %(levels)s::smallint, %(times)s::bigint, %(messages)s::text, %(data)s::text
    FROM head"""


@cache
def _append_counting(*, one: bool, has_steps: bool, counts: bool, counts_in_steps: bool) -> str:
    """The statement of a batch that only counts. What it doesn't need isn't there.

    The lock on the head is held within this one message only. That the events have new ids is taken for granted:
    leaving some out here would leave gaps, as the statement's snapshot is older than its lock. The unique index would
    tell.
    """
    return f"""
WITH head AS (
    UPDATE {{s}}.event_heads AS h
    SET last_seq = last_seq + %(count)s::bigint, heard_at_us = greatest(heard_at_us, %(heard)s::bigint){
        _ADD_COUNTS if counts else ""
    }
    WHERE run_id = %(run)s::text AND deleted_at_us IS NULL AND last_seq <= {MAX_SEQ} - %(count)s::bigint{
        _IF_STEPS_ARE_THERE if has_steps else ""
    }
    RETURNING {HEAD_COLUMNS}
), stored AS (
    INSERT INTO {{s}}.events ({_EVENT_COLUMNS})
    {_ONE if one else _MANY}
){_COUNT_IN_STEPS if counts_in_steps else ""}
SELECT {HEAD_COLUMNS} FROM head
"""


_LOCK_HEAD = "SELECT 1 FROM {s}.event_heads WHERE run_id = %(run)s FOR NO KEY UPDATE;"
_LOCK_RUN = "SELECT 1 FROM {s}.runs WHERE run_id = %(run)s FOR NO KEY UPDATE;"

# A statement of its own, behind the locks: its snapshot is younger than they are.
READ_LOG = f"""
SELECT {", ".join(f"h.{name}" for name in HEAD_COLUMNS.split(", "))},
    ARRAY(
        SELECT json_build_array(
            s.step_key, s.first_seq, s.status, s.spans, s.materializations, s.expectations
        )::text FROM {{s}}.event_steps AS s WHERE s.run_key = h.run_key AND s.step_key = ANY(%(keys)s::text[])
    ),
    ARRAY(
        SELECT e.event_id FROM {{s}}.events AS e
        WHERE e.run_key = h.run_key AND e.event_id = ANY(%(ids)s::text[]) AND e.event_id IS NOT NULL
    )
FROM {{s}}.event_heads AS h WHERE h.run_id = %(run)s
"""

_READ_LOG_AND_RUN = f"""
SELECT log.*, {run_columns(RunParts.NONE, "r.")}
FROM ({READ_LOG}) AS log LEFT JOIN {{s}}.runs AS r ON r.run_id = log.run_id
"""

INSERT_HEADS = """
INSERT INTO {s}.event_heads (
    run_id, incarnation, last_seq, presumed, state_seq, steps_in_progress, steps_succeeded, steps_failed,
    steps_skipped, materializations, expectations, expectations_failed
)
SELECT given.run_id, given.incarnation, 0, false, 0, 0, 0, 0, 0, 0, 0, 0
FROM unnest(%(runs)s::text[], %(incarnations)s::text[]) AS given(run_id, incarnation)
WHERE NOT EXISTS (SELECT 1 FROM {s}.event_heads AS h WHERE h.run_id = given.run_id)
ORDER BY given.run_id
ON CONFLICT (run_id) DO NOTHING;
"""

_UPDATE_HEAD = """
UPDATE {s}.event_heads SET
    last_seq = %(last_seq)s, status = %(status)s, started_at_us = %(started)s, ended_at_us = %(ended)s,
    presumed = %(presumed)s, state_seq = %(state_seq)s, steps_in_progress = %(in_progress)s,
    steps_succeeded = %(succeeded)s, steps_failed = %(failed)s, steps_skipped = %(skipped)s,
    materializations = %(materializations)s, expectations = %(expectations)s,
    expectations_failed = %(expectations_failed)s, heard_at_us = %(heard)s
WHERE run_key = %(run_key)s
"""

_HEAD_VALUES = (
    "last_seq",
    "status",
    "started",
    "ended",
    "presumed",
    "state_seq",
    "in_progress",
    "succeeded",
    "failed",
    "skipped",
    "materializations",
    "expectations",
    "expectations_failed",
    "heard",
)

_INSERT_EVENTS = f"""
INSERT INTO {{s}}.events ({_EVENT_COLUMNS})
SELECT %(run_key)s, %(last_before)s + given.n, given.event_id, given.event_type, given.step_key, given.level,
    given.timestamp_us, given.message, given.data
FROM {_GIVEN}
"""

_UPSERT_STEPS = """
INSERT INTO {s}.event_steps (run_key, step_key, first_seq, status, spans, materializations, expectations)
SELECT %(run_key)s, * FROM unnest(%(step_keys)s::text[], %(step_firsts)s::bigint[], %(step_statuses)s::text[],
    %(step_spans)s::text[], %(step_materializations)s::bigint[], %(step_expectations)s::bigint[])
ON CONFLICT (run_key, step_key) DO UPDATE SET status = excluded.status, spans = excluded.spans,
    materializations = excluded.materializations, expectations = excluded.expectations
"""

_EVENT_VALUES = ("ids", "types", "steps", "levels", "times", "messages", "data")

_HEAD_WIDTH = len(HEAD_COLUMNS.split(", "))


@dataclass(frozen=True, slots=True)
class Batch:
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

    @property
    def is_repeatable(self) -> bool:
        """True when every event has an id, so that it can be sent twice."""
        return all(event.event_id is not None for event in self.events)


def append_counting(database: PostgresDatabase, batch: Batch, tally: Tally) -> Appended | None:
    """Store a batch that only counts by one statement.

    None when that can't be: no log yet, closed, or full, or a step that the log doesn't know.

    Raises:
        psycopg2.errors.UniqueViolation: The run has some of the event ids. Nothing was stored.
    """
    count = len(batch.events)
    values: dict[str, Any] = {"run": batch.run_id, "count": count, "heard": batch.now_us if batch.heard else None}
    if count == 1:
        (event,) = batch.events
        given = (event.event_id, event.event_type, event.step_key, event.level, event.timestamp_us, event.message)
        values |= dict(zip(_EVENT_VALUES, (*given, event.data_json), strict=True))
    else:
        values |= _event_values(batch.events)
    if tally.step_keys:
        values |= {"keys": text_array(tally.step_keys), "key_count": len(tally.step_keys)}
    if tally.counts:
        values |= {
            "materializations": tally.materializations,
            "expectations": tally.expectations,
            "expectations_failed": tally.expectations_failed,
        }
    if tally.by_step:
        values |= {
            "counted": text_array(tally.by_step),
            "step_materializations": number_array(made for made, _ in tally.by_step.values()),
            "step_expectations": number_array(met for _, met in tally.by_step.values()),
        }
    sql = _append_counting(
        one=count == 1, has_steps=bool(tally.step_keys), counts=tally.counts, counts_in_steps=bool(tally.by_step)
    )
    rows = database.write_often(sql, values, repeatable=batch.is_repeatable)
    if not rows:
        return None
    head = head_of(rows[0])
    return Appended(count, batch.given - count, head.last_seq - count + 1, head.last_seq, head)


def append_under_lock(database: PostgresDatabase, batch: Batch, *, all_new: bool) -> Appended:
    """Store any batch, with head, counts, steps and run row.

    Args:
        all_new: Trust that the run has none of the event ids; which saves looking, and is nearly always so.

    Raises:
        psycopg2.errors.UniqueViolation: `all_new` was wrong. Nothing was stored.
        RunDeleted: The head is closed.
        RunFull: There are too many. With `all_new` some of them may be duplicates.
    """
    return database.transact(
        lambda transaction: _append(transaction, batch, all_new=all_new), repeatable=batch.is_repeatable
    )


def _append(transaction: Transaction, batch: Batch, *, all_new: bool) -> Appended:
    run_key, head, steps, known, run = _locked_state(transaction, batch, all_new=all_new)
    if head.deleted:
        raise RunDeleted(batch.run_id)
    new = batch.events if all_new else without_duplicates(batch.events, known)
    if head.last_seq + len(new) > MAX_SEQ:
        raise RunFull(f"It has {head.last_seq} already, and {len(new)} were given.")
    # max: the clock was read before the lock was had, and another writer may have been heard later.
    heard_at_us = max(batch.now_us, head.heard_at_us or 0) if batch.heard else None
    folded = fold(head, steps, new, heard_at_us)
    statements = [_UPDATE_HEAD]
    values = dict(zip(_HEAD_VALUES, head_values(folded.head), strict=True))
    values |= {"run_key": run_key, "last_before": head.last_seq}
    if new:
        statements.append(_INSERT_EVENTS)
        values |= _event_values(new)
    if folded.steps:
        statements.append(_UPSERT_STEPS)
        values |= _step_values(list(folded.steps.values()))
    projected = False
    if run is not None and folded.head.state.state_seq > head.state.state_seq:
        projected = True
        move = project(run, folded.head.state)
        if move is not None:
            # Last, as it takes the lock of the feed of changes.
            statements.append(MOVE if move.changed else MOVE_SEQ)
            values |= move_values(batch.run_id, move, batch.now_us)
    transaction.commit(";".join(statements), values)
    return Appended(
        accepted=len(new),
        duplicates=batch.given - len(new),
        first_seq=head.last_seq + 1 if new else None,
        last_seq=folded.head.last_seq if new else None,
        head=folded.head,
        projected=projected,
    )


def _locked_state(
    transaction: Transaction, batch: Batch, *, all_new: bool
) -> tuple[int, Head, dict[str, StepState], set[str], RunRecord | None]:
    """Run key, head, steps, event ids of the batch that are there, and run row; all locked that may be written."""
    ids = [] if all_new else [event.event_id for event in batch.events if event.event_id is not None]
    moves_run = any(event.event_type in STATUS_BY_EVENT_TYPE for event in batch.events)
    statements = _LOCK_HEAD + (_LOCK_RUN + _READ_LOG_AND_RUN if moves_run else READ_LOG)
    values = {"run": batch.run_id, "keys": text_array(step_keys_of(batch.events)), "ids": text_array(ids)}
    rows = transaction.run(statements, values)
    while not rows:
        made = {"runs": text_array([batch.run_id]), "incarnations": text_array([secrets.token_hex(8)])}
        rows = transaction.run(INSERT_HEADS + statements, values | made)
    row = rows[0]
    step_texts, known, run_row = row[_HEAD_WIDTH], row[_HEAD_WIDTH + 1], row[_HEAD_WIDTH + 2 :]
    steps = {step.step_key: step for step in (step_of(batch.run_id, json.loads(text)) for text in step_texts)}
    run = run_of(run_row, ()) if moves_run and run_row[0] is not None else None
    return row[0], head_of(row), steps, set(known), run


def _event_values(events: Sequence[PreparedEvent]) -> dict[str, Any]:
    ids, types, steps, levels, messages, times, data, _ = zip(*events, strict=True)
    return {
        "ids": text_array(ids),
        "types": text_array(types),
        "steps": text_array(steps),
        "levels": number_array(levels),
        "times": number_array(times),
        "messages": text_array(messages),
        "data": text_array(data),
    }


def _step_values(steps: Sequence[StepState]) -> dict[str, Any]:
    keys, firsts, statuses, spans, materializations, expectations = zip(*map(step_values, steps), strict=True)
    return {
        "step_keys": text_array(keys),
        "step_firsts": number_array(firsts),
        "step_statuses": text_array(statuses),
        "step_spans": text_array(spans),
        "step_materializations": number_array(materializations),
        "step_expectations": number_array(expectations),
    }
