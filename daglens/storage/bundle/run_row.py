"""From the run of a bundle, which is as all its events left it, to the run as it was before them."""

from __future__ import annotations

from dataclasses import replace

from daglens.storage.fold import project
from daglens.storage.records import NewRun, RunRecord, RunState, RunStatus
from daglens.storage.run_rules import new_record


def as_created(run: NewRun, state: RunState) -> NewRun:
    """The run to add so that its events, appended after it, make of it what `run` says.

    What the events tell by themselves is left to them: a run added as finished would stay so whatever they say, and
    would look finished while they are still on their way.
    """
    told = (run.status, run.ended_at_us) == (state.status, state.ended_at_us)
    return replace(
        run,
        status=RunStatus.NOT_STARTED if told else run.status,
        ended_at_us=None if told else run.ended_at_us,
        started_at_us=None if run.started_at_us == state.started_at_us else run.started_at_us,
    )


def as_stored(run: NewRun, state: RunState) -> RunRecord:
    """The row that a storage has after the run was added and its events appended. Its last change is that of the
    latest time that it names.

    Raises:
        InvalidName, TooManyTags: No storage would take the run.
    """
    latest_us = max(at for at in (run.created_at_us, run.started_at_us, run.ended_at_us, 0) if at is not None)
    row = new_record(as_created(run, state), latest_us)
    move = project(row, state)
    if move is None:
        return row
    return row._replace(
        status=move.status,
        started_at_us=move.started_at_us,
        ended_at_us=move.ended_at_us,
        presumed=move.presumed,
        projected_seq=move.projected_seq,
    )
