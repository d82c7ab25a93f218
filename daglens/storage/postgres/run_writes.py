"""Adding, changing and deleting runs.

Whatever a live list shows takes a number from the feed (run_rows.py): its lock is the last that a transaction takes,
and the runs it writes were locked before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from daglens.storage.contract import TOMBSTONE_DAYS
from daglens.storage.errors import RunConflict, RunDeleted, RunNotFound
from daglens.storage.fold import project
from daglens.storage.postgres.database import PostgresDatabase, Transaction
from daglens.storage.postgres.run_reads import read_runs, run_with_tags, select_runs
from daglens.storage.postgres.run_rows import MOVE, MOVE_SEQ, move_values
from daglens.storage.postgres.texts import text_array
from daglens.storage.records import RunParts, RunRecord, RunState
from daglens.storage.run_rules import merged_tags
from daglens.storage.sql.rows import texts_that_may_be_stored

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000

_LOCK_FEED = 'SELECT last_change FROM {s}.run_feed WHERE "only" = 1 FOR NO KEY UPDATE;'

# One message: behind the feed's lock no other can add or delete, and each statement sees all that did.
_ADD = f"""
DELETE FROM {{s}}.deleted_runs WHERE run_id = %(run)s AND deleted_at_us <= %(oldest)s;
{_LOCK_FEED}
WITH feed AS (
    UPDATE {{s}}.run_feed SET last_change = last_change + 1
    WHERE "only" = 1 AND NOT EXISTS (SELECT 1 FROM {{s}}.runs WHERE run_id = %(run)s)
    AND NOT EXISTS (SELECT 1 FROM {{s}}.deleted_runs WHERE run_id = %(run)s)
    RETURNING last_change
), run AS (
    INSERT INTO {{s}}.runs (
        run_id, pipeline_name, status, run_config, step_keys_to_execute, parent_run_id, root_run_id, created_at_us,
        updated_at_us, started_at_us, ended_at_us, created_by, created_with, presumed, projected_seq, change_number
    ) SELECT %(run)s, %(pipeline)s, %(status)s, %(config)s, %(steps)s, %(parent)s, %(root)s, %(created)s, %(updated)s,
        %(started)s, %(ended)s, %(by)s, %(with)s, false, 0, feed.last_change FROM feed
    RETURNING run_id, created_at_us
), tags AS (
    INSERT INTO {{s}}.run_tags (run_id, key, value, created_at_us)
    SELECT run.run_id, given.key, given.value, run.created_at_us
    FROM run, unnest(%(keys)s::text[], %(values)s::text[]) AS given(key, value)
)
SELECT 1 FROM run
"""

_LOCK_RUN = "SELECT 1 FROM {s}.runs WHERE run_id = ANY(%(runs)s::text[]) FOR NO KEY UPDATE;"

_PUT_TAGS = """
INSERT INTO {s}.run_tags (run_id, key, value, created_at_us)
SELECT %(run)s, given.key, given.value, %(created)s
FROM unnest(%(keys)s::text[], %(values)s::text[]) AS given(key, value)
ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value;
WITH feed AS (UPDATE {s}.run_feed SET last_change = last_change + 1 WHERE "only" = 1 RETURNING last_change)
UPDATE {s}.runs SET updated_at_us = greatest(updated_at_us, %(now)s), change_number = feed.last_change
FROM feed WHERE run_id = %(run)s
"""

_HEARTBEAT = """
WITH alive AS (
    UPDATE {s}.runs SET heartbeat_at_us = %(now)s, heartbeat_timeout_s = %(timeout)s
    WHERE run_id = ANY(%(runs)s::text[]) RETURNING *
)
"""

# In order of the id, so that two deletions never wait for each other.
_LOCK_RUNS = "SELECT run_id FROM {s}.runs WHERE run_id = ANY(%(runs)s::text[]) ORDER BY run_id FOR UPDATE"

_DELETE = f"""
{_LOCK_FEED}
WITH gone AS (
    DELETE FROM {{s}}.runs WHERE run_id = ANY(%(locked)s::text[]) RETURNING run_id
), numbered AS (
    SELECT run_id, row_number() OVER (ORDER BY run_id) AS n FROM gone
), feed AS (
    UPDATE {{s}}.run_feed SET last_change = last_change + (SELECT count(*) FROM gone) WHERE "only" = 1
    RETURNING last_change - (SELECT count(*) FROM gone) AS last_before
)
INSERT INTO {{s}}.deleted_runs (run_id, deleted_at_us, change_number)
SELECT numbered.run_id, %(now)s, feed.last_before + numbered.n FROM numbered, feed
ON CONFLICT (run_id) DO NOTHING;
INSERT INTO {{s}}.deleted_runs (run_id, deleted_at_us)
SELECT given.run_id, %(now)s FROM unnest(%(runs)s::text[]) AS given(run_id)
WHERE NOT EXISTS (SELECT 1 FROM {{s}}.runs AS r WHERE r.run_id = given.run_id)
ON CONFLICT (run_id) DO NOTHING
"""

_LEFT = "SELECT run_id FROM {s}.runs WHERE run_id = ANY(%(runs)s::text[])"

# In a transaction of its own: nobody who waits for these rows is then kept waiting for the feed.
_DROP_TOMBSTONES = "DELETE FROM {s}.deleted_runs WHERE deleted_at_us <= %(oldest)s"


def add(database: PostgresDatabase, record: RunRecord, now_us: int) -> RunRecord | None:
    """Store a run and its tags; None when it was made, else the run that is there and was created with the same values.

    Raises:
        RunConflict, RunDeleted: See RunStorage.add.
    """
    steps = record.step_keys_to_execute
    values = {
        "run": record.run_id,
        "pipeline": record.pipeline_name,
        "status": record.status.value,
        "config": record.run_config,
        "steps": None if steps is None else json.dumps(steps, ensure_ascii=False),
        "parent": record.parent_run_id,
        "root": record.root_run_id,
        "created": record.created_at_us,
        "updated": record.updated_at_us,
        "started": record.started_at_us,
        "ended": record.ended_at_us,
        "by": record.created_by,
        "with": record.created_with,
        "keys": text_array(key for key, _ in record.tags),
        "values": text_array(value for _, value in record.tags),
        "oldest": now_us - TOMBSTONE_US,
    }
    if database.write(_ADD, values, repeatable=True):
        return None
    there = read_runs(database, [record.run_id], RunParts.ALL).get(record.run_id)
    if there is None:
        raise RunDeleted(record.run_id)
    if there.created_with != record.created_with:
        raise RunConflict(record.run_id)
    return there


def add_tags(database: PostgresDatabase, run_id: str, tags: Sequence[tuple[str, str]], now_us: int) -> RunRecord:
    """Add or replace tags; the run afterwards. What is there already with the same value is no change.

    Raises:
        RunNotFound, TooManyTags, InvalidName: See RunStorage.add_tags.
    """

    def change(transaction: Transaction) -> RunRecord:
        run = _locked_run(transaction, run_id)
        if run is None:
            raise RunNotFound(run_id)
        merged = merged_tags(run.tags, tags)
        changed = [tag for tag in merged if tag not in run.tags]
        if changed:
            values = {
                "run": run_id,
                "created": run.created_at_us,
                "keys": text_array(key for key, _ in changed),
                "values": text_array(value for _, value in changed),
                "now": now_us,
            }
            transaction.commit(_PUT_TAGS, values)
        return run._replace(tags=merged, updated_at_us=max(run.updated_at_us, now_us) if changed else run.updated_at_us)

    return database.transact(change, repeatable=True)


def project_run(database: PostgresDatabase, run_id: str, state: RunState, now_us: int) -> RunRecord | None:
    """Write to the run row what its log says (`fold.project`); the run afterwards, None when there is no such row."""

    def change(transaction: Transaction) -> RunRecord | None:
        run = _locked_run(transaction, run_id)
        move = None if run is None else project(run, state)
        if run is None or move is None:
            return run
        transaction.commit(MOVE if move.changed else MOVE_SEQ, move_values(run_id, move, now_us))
        return run._replace(
            status=move.status,
            started_at_us=move.started_at_us,
            ended_at_us=move.ended_at_us,
            presumed=move.presumed,
            projected_seq=move.projected_seq,
            updated_at_us=max(run.updated_at_us, now_us) if move.changed else run.updated_at_us,
        )

    return database.transact(change, repeatable=True)


def _locked_run(transaction: Transaction, run_id: str) -> RunRecord | None:
    rows = transaction.run(_LOCK_RUN + select_runs(RunParts.ALL), {"runs": text_array([run_id])})
    return run_with_tags(rows[0]) if rows else None


def heartbeat(database: PostgresDatabase, run_id: str, timeout_s: int, now_us: int) -> RunRecord:
    """Note a sign of life; the run afterwards.

    Raises:
        RunNotFound: There is no such run.
    """
    values = {"now": now_us, "timeout": timeout_s, "runs": text_array([run_id])}
    rows = database.write(_HEARTBEAT + select_runs(RunParts.ALL, "alive"), values, repeatable=True)
    if not rows:
        raise RunNotFound(run_id)
    return run_with_tags(rows[0])


def delete(database: PostgresDatabase, run_ids: Sequence[str], now_us: int) -> int:
    """Delete runs and their tags, and leave tombstones; how many rows went."""
    database.write(_DROP_TOMBSTONES, {"oldest": now_us - TOMBSTONE_US}, repeatable=True)
    left = texts_that_may_be_stored(run_ids)
    gone = 0
    while left:
        given = {"runs": text_array(left), "now": now_us}

        def remove(transaction: Transaction, given: dict[str, Any] = given) -> int:
            locked = [run_id for (run_id,) in transaction.run(_LOCK_RUNS, given)]
            transaction.commit(_DELETE, given | {"locked": text_array(locked)})
            return len(locked)

        gone += database.transact(remove, repeatable=True)
        # Runs that were added in between were not locked, and remain; all others are closed now.
        left = [run_id for (run_id,) in database.read(_LEFT, given)]
    return gone
