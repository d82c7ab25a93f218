"""Adding, changing and deleting runs, inside a transaction that has the write lock."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from daglens.storage.contract import MAX_TAGS, TOMBSTONE_DAYS
from daglens.storage.drafts import json_text
from daglens.storage.errors import RunConflict, RunDeleted, RunNotFound, TooManyTags
from daglens.storage.names import check_name, clean_text
from daglens.storage.records import AddedRun, NewRun, RunParts, RunRecord, RunState
from daglens.storage.sql.rows import json_array, may_be_stored
from daglens.storage.sqlite.run_reads import read_runs
from daglens.storage.sqlite.run_rows import next_changes, project_row

TOMBSTONE_US = TOMBSTONE_DAYS * 86_400_000_000

_INSERT_RUN = """
INSERT INTO runs (
    run_id, pipeline_name, status, run_config, step_keys_to_execute, parent_run_id, root_run_id, created_at_us,
    updated_at_us, started_at_us, ended_at_us, created_by, created_with, presumed, projected_seq, change_number
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)
"""

_UPSERT_TAG = """
INSERT INTO run_tags (run_id, key, value, created_at_us) VALUES (?, ?, ?, ?)
ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value
"""

_TOUCH = "UPDATE runs SET updated_at_us = max(updated_at_us, ?), change_number = ? WHERE run_id = ?"

_TOMBSTONE_OF = "SELECT 1 FROM deleted_runs WHERE run_id = ? AND deleted_at_us > ?"

_HEARTBEAT = "UPDATE runs SET heartbeat_at_us = ?, heartbeat_timeout_s = ? WHERE run_id = ?"

_EXISTING = "SELECT r.run_id FROM json_each(?) AS given CROSS JOIN runs AS r WHERE r.run_id = given.value"

# A deleted run that is deleted again keeps its date.
_BURY = """
INSERT INTO deleted_runs (run_id, deleted_at_us, change_number) VALUES (?, ?, ?) ON CONFLICT (run_id) DO NOTHING
"""


def checked_record(run: NewRun, now_us: int) -> RunRecord:
    """The record that `run` becomes.

    Raises:
        InvalidName, TooManyTags: See RunStorage.add.
    """
    check_name(run.run_id, "run id")
    check_name(run.pipeline_name, "pipeline name")
    for run_id, what in ((run.parent_run_id, "parent run id"), (run.root_run_id, "root run id")):
        if run_id is not None:
            check_name(run_id, what)
    tags = checked_tags(run.tags)
    if len(tags) > MAX_TAGS:
        raise TooManyTags(f"It would have {len(tags)}.")
    created = now_us if run.created_at_us is None else run.created_at_us
    steps = run.step_keys_to_execute
    return RunRecord(
        run_id=run.run_id,
        pipeline_name=run.pipeline_name,
        status=run.status,
        tags=tuple(sorted(tags.items())),
        run_config=json_text(run.run_config),
        step_keys_to_execute=None if steps is None else tuple(clean_text(step) for step in steps),
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        created_at_us=created,
        # Lists rely on it: no run is updated before it is created.
        updated_at_us=max(now_us, created),
        started_at_us=run.started_at_us,
        ended_at_us=run.ended_at_us,
        heartbeat_at_us=None,
        heartbeat_timeout_s=None,
        created_by=None if run.created_by is None else clean_text(run.created_by),
        presumed=False,
        projected_seq=0,
        created_with=run.fingerprint(),
    )


def checked_tags(tags: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Tags by key, the last value of each; values cleaned.

    Raises:
        InvalidName: A key can't be one.
    """
    return {check_name(key, "tag key"): clean_text(value) for key, value in tags}


def add(connection: sqlite3.Connection, record: RunRecord, now_us: int) -> AddedRun:
    """Store the run, or find it.

    Raises:
        RunConflict, RunDeleted: See RunStorage.add.
    """
    if connection.execute(_TOMBSTONE_OF, (record.run_id, now_us - TOMBSTONE_US)).fetchone() is not None:
        raise RunDeleted(record.run_id)
    there = _run(connection, record.run_id)
    if there is None:
        _insert(connection, record)
        return AddedRun(record, created=True)
    if there.created_with != record.created_with:
        raise RunConflict(record.run_id)
    return AddedRun(there, created=False)


def _run(connection: sqlite3.Connection, run_id: str) -> RunRecord | None:
    return read_runs(connection, [run_id], RunParts.ALL).get(run_id)


def _insert(connection: sqlite3.Connection, record: RunRecord) -> None:
    # What is left of a tombstone older than 90 days would tell the feed of a deletion.
    connection.execute("DELETE FROM deleted_runs WHERE run_id = ?", (record.run_id,))
    steps = record.step_keys_to_execute
    connection.execute(
        _INSERT_RUN,
        (
            record.run_id,
            record.pipeline_name,
            record.status.value,
            record.run_config,
            None if steps is None else json.dumps(steps, ensure_ascii=False),
            record.parent_run_id,
            record.root_run_id,
            record.created_at_us,
            record.updated_at_us,
            record.started_at_us,
            record.ended_at_us,
            record.created_by,
            record.created_with,
            next_changes(connection),
        ),
    )
    connection.executemany(
        _UPSERT_TAG, [(record.run_id, key, value, record.created_at_us) for key, value in record.tags]
    )


def add_tags(connection: sqlite3.Connection, run_id: str, tags: Sequence[tuple[str, str]], now_us: int) -> RunRecord:
    """Add or replace tags; the run afterwards. What is there already with the same value is no change.

    Raises:
        RunNotFound, TooManyTags, InvalidName: See RunStorage.add_tags.
    """
    run = _run(connection, run_id)
    if run is None:
        raise RunNotFound(run_id)
    present = dict(run.tags)
    merged = present | checked_tags(tags)
    if len(merged) > MAX_TAGS:
        raise TooManyTags(f"It would have {len(merged)}.")
    changed = [(key, value) for key, value in merged.items() if present.get(key) != value]
    if not changed:
        return run
    connection.executemany(_UPSERT_TAG, [(run_id, key, value, run.created_at_us) for key, value in changed])
    connection.execute(_TOUCH, (now_us, next_changes(connection), run_id))
    return run._replace(tags=tuple(sorted(merged.items())), updated_at_us=max(run.updated_at_us, now_us))


def project(connection: sqlite3.Connection, run_id: str, state: RunState, now_us: int) -> RunRecord | None:
    """See RunStorage.project."""
    if not may_be_stored(run_id) or not project_row(connection, run_id, state, now_us):
        return None
    return _run(connection, run_id)


def heartbeat(connection: sqlite3.Connection, run_id: str, timeout_s: int, now_us: int) -> RunRecord:
    """Note a sign of life; the run afterwards.

    Raises:
        RunNotFound: There is no such run.
    """
    if may_be_stored(run_id):
        connection.execute(_HEARTBEAT, (now_us, timeout_s, run_id))
    run = _run(connection, run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def delete(connection: sqlite3.Connection, run_ids: Sequence[str], now_us: int) -> int:
    """Delete runs and their tags, and leave tombstones; how many rows went. Tombstones of 90 days ago go."""
    connection.execute("DELETE FROM deleted_runs WHERE deleted_at_us <= ?", (now_us - TOMBSTONE_US,))
    existing = [run_id for (run_id,) in connection.execute(_EXISTING, (json_array(run_ids),))]
    connection.executemany("DELETE FROM runs WHERE run_id = ?", [(run_id,) for run_id in existing])
    if existing:
        first = next_changes(connection, len(existing))
        connection.executemany(_BURY, [(run_id, now_us, first + n) for n, run_id in enumerate(existing)])
    connection.executemany(_BURY, [(run_id, now_us, None) for run_id in run_ids if may_be_stored(run_id)])
    return len(existing)
