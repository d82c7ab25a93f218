"""Rows of the tables and the records made of them, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from daglens.storage.names import MAX_NAME_CHARS
from daglens.storage.records import (
    AttemptSpan,
    EventCounts,
    Head,
    RunParts,
    RunRecord,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_INT = 2**63 - 1

_STATUS = {status.value: status for status in RunStatus}
_STEP_STATUS = {status.value: status for status in StepStatus}


def may_be_stored(text: str) -> bool:
    """False for an id that no storage takes: nothing is stored under it, and the driver can't bind some of them."""
    return 0 < len(text) <= MAX_NAME_CHARS and "\0" not in text and not _SURROGATE.search(text)


def texts_that_may_be_stored(texts: Iterable[str]) -> list[str]:
    """Those of the texts that can be ids or names, each once."""
    return [text for text in dict.fromkeys(texts) if may_be_stored(text)]


def json_array(texts: Iterable[str]) -> str:
    """The texts that may be stored, each once, as a JSON array: what `json_each` takes in a statement."""
    return json.dumps(texts_that_may_be_stored(texts), ensure_ascii=False)


def bounded(number: int) -> int:
    """The nearest number that a column holds."""
    return max(-_MAX_INT, min(_MAX_INT, number))


# ---------------------------------------------------------------- heads

HEAD_COLUMNS = (
    "run_key, run_id, incarnation, last_seq, status, started_at_us, ended_at_us, presumed, state_seq, "
    "steps_in_progress, steps_succeeded, steps_failed, steps_skipped, "
    "materializations, expectations, expectations_failed, heard_at_us, deleted_at_us"
)


def head_of(row: Sequence[Any]) -> Head:
    """The head in a row of HEAD_COLUMNS."""
    status = row[4]
    return Head(
        run_id=row[1],
        incarnation=row[2],
        last_seq=row[3],
        state=RunState(None if status is None else _STATUS[status], row[5], row[6], bool(row[7]), row[8]),
        counts=EventCounts(*row[9:16]),
        heard_at_us=row[16],
        deleted=row[17] is not None,
    )


def head_values(head: Head) -> tuple[Any, ...]:
    """Values for the columns of HEAD_COLUMNS from last_seq to heard_at_us."""
    state, counts = head.state, head.counts
    return (
        head.last_seq,
        None if state.status is None else state.status.value,
        state.started_at_us,
        state.ended_at_us,
        state.presumed,
        state.state_seq,
        counts.steps_in_progress,
        counts.steps_succeeded,
        counts.steps_failed,
        counts.steps_skipped,
        counts.materializations,
        counts.expectations,
        counts.expectations_failed,
        head.heard_at_us,
    )


# ---------------------------------------------------------------- steps

STEP_COLUMNS = "step_key, first_seq, status, spans, materializations, expectations"


def step_of(run_id: str, row: Sequence[Any]) -> StepState:
    """The step in a row of STEP_COLUMNS."""
    spans = tuple(AttemptSpan(a, _STEP_STATUS[status], start, end) for a, status, start, end in json.loads(row[3]))
    return StepState(run_id, row[0], row[1], _STEP_STATUS[row[2]], spans, row[4], row[5])


def step_values(step: StepState) -> tuple[Any, ...]:
    """Values for STEP_COLUMNS."""
    return (
        step.step_key,
        step.first_seq,
        step.status.value,
        json.dumps(step.spans, separators=(",", ":")),
        step.materializations,
        step.expectations,
    )


# ---------------------------------------------------------------- runs

RUN_COLUMNS = (
    "run_id, pipeline_name, status, run_config, step_keys_to_execute, parent_run_id, root_run_id, created_at_us, "
    "updated_at_us, started_at_us, ended_at_us, heartbeat_at_us, heartbeat_timeout_s, created_by, presumed, "
    "projected_seq, created_with"
)
"""What `run_of` takes."""


def run_columns(parts: RunParts, table: str = "") -> str:
    """RUN_COLUMNS, each by its name and out of `table` ("r."); an empty `run_config` where it isn't among `parts`."""
    empty = () if RunParts.CONFIG in parts else ("run_config",)
    return ", ".join(f"'{{}}' AS {name}" if name in empty else table + name for name in RUN_COLUMNS.split(", "))


def run_of(row: Sequence[Any], tags: tuple[tuple[str, str], ...]) -> RunRecord:
    """The run in a row of RUN_COLUMNS."""
    return RunRecord(
        row[0],
        row[1],
        _STATUS[row[2]],
        tags,
        row[3],
        None if row[4] is None else tuple(json.loads(row[4])),
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
        bool(row[14]),
        row[15],
        row[16],
    )
