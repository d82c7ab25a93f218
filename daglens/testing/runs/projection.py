"""What the event log says of a run, written to its row; and signs of life."""

from __future__ import annotations

import random
from functools import partial

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.errors import RunNotFound
from daglens.storage.records import RunRecord, RunState, RunStatus
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.runs.topic import RunTopic, add
from daglens.testing.threads import together

RANKS = [
    {RunStatus.NOT_STARTED},
    {RunStatus.QUEUED},
    {RunStatus.STARTING},
    {RunStatus.STARTED},
    {RunStatus.CANCELING},
    {RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED},
]
"""The contract's ranks, lowest first; an event moves a run only upward."""


def _rank(status: RunStatus) -> int:
    return next(rank for rank, statuses in enumerate(RANKS) if status in statuses)


def _state(status: RunStatus, seq: int, *, presumed: bool = False) -> RunState:
    return RunState(
        status,
        started_at_us=1_000 if _rank(status) >= 3 else None,
        ended_at_us=1_000 + seq if _rank(status) == 5 else None,
        presumed=presumed,
        state_seq=seq,
    )


def _facts(run: RunRecord) -> tuple[RunStatus, int | None, int | None, bool]:
    return run.status, run.started_at_us, run.ended_at_us, run.presumed


class RunProjection(RunTopic):
    """`project` and `heartbeat`."""

    @pytest.mark.parametrize("new", [s for s in RunStatus if s is not RunStatus.NOT_STARTED])
    @pytest.mark.parametrize("old", list(RunStatus))
    def test_status_moves_only_upward(self, storage: RunStorage, old: RunStatus, new: RunStatus) -> None:
        """A run goes to a status of higher rank and to no other: what is final stays, and a late start wins nothing."""
        add(storage, "r1", status=old)
        run = storage.project("r1", _state(new, 1))
        assert run is not None
        assert run.status is (new if _rank(new) > _rank(old) else old)
        assert storage.get(["r1"])["r1"] == run

    def test_run_goes_through_its_life(self, storage: RunStorage) -> None:
        """Start and end are kept with the microsecond of their events."""
        add(storage, "r1")
        started = storage.project("r1", RunState(RunStatus.STARTED, started_at_us=2**53 + 1, state_seq=3))
        assert started is not None
        assert _facts(started) == (RunStatus.STARTED, 2**53 + 1, None, False)
        ended = storage.project("r1", RunState(RunStatus.SUCCESS, 2**53 + 1, 2**53 + 3, state_seq=2**31 - 1))
        assert ended is not None
        assert _facts(ended) == (RunStatus.SUCCESS, 2**53 + 1, 2**53 + 3, False)
        assert ended.projected_seq == 2**31 - 1
        assert storage.get(["r1"])["r1"] == ended

    def test_start_that_comes_after_the_end(self, storage: RunStorage) -> None:
        """A late RUN_START tells when the run began, and leaves it ended."""
        add(storage, "r1")
        storage.project("r1", RunState(RunStatus.SUCCESS, None, 9, state_seq=1))
        run = storage.project("r1", RunState(RunStatus.SUCCESS, 5, 9, state_seq=2))
        assert run is not None
        assert _facts(run) == (RunStatus.SUCCESS, 5, 9, False)

    def test_older_state_changes_nothing(self, storage: RunStorage) -> None:
        """A state that isn't newer than what was projected leaves the row exactly as it is."""
        add(storage, "r1")
        run = storage.project("r1", _state(RunStatus.STARTED, 5))
        for late in (_state(RunStatus.SUCCESS, 5), _state(RunStatus.SUCCESS, 4), _state(RunStatus.QUEUED, 1)):
            assert storage.project("r1", late) == run
        assert storage.get(["r1"])["r1"] == run

    def test_state_of_no_event_changes_nothing(self, storage: RunStorage) -> None:
        """A log without run-level events says nothing of the run."""
        run = add(storage, "r1", status=RunStatus.QUEUED)
        assert storage.project("r1", RunState()) == run

    def test_presumed_failure_gives_way(self, storage: RunStorage) -> None:
        """A failure that nobody reported is replaced by the end that the recorder reports."""
        for end in (RunStatus.SUCCESS, RunStatus.FAILURE, RunStatus.CANCELED):
            add(storage, end)
            storage.project(end, _state(RunStatus.STARTED, 1))
            run = storage.project(end, _state(RunStatus.FAILURE, 2, presumed=True))
            assert run is not None
            assert _facts(run) == (RunStatus.FAILURE, 1_000, 1_002, True)
            run = storage.project(end, _state(end, 3))
            assert run is not None
            assert _facts(run) == (end, 1_000, 1_003, False)

    def test_presumed_failure_replaces_no_end(self, storage: RunStorage) -> None:
        """What the recorder reported stands against a presumption that comes after it."""
        add(storage, "r1")
        storage.project("r1", _state(RunStatus.SUCCESS, 1))
        run = storage.project("r1", _state(RunStatus.FAILURE, 2, presumed=True))
        assert run is not None
        assert _facts(run) == (RunStatus.SUCCESS, 1_000, 1_001, False)

    def test_imported_run_is_not_moved_back(self, storage: RunStorage) -> None:
        """A run that was added complete keeps its times against events that say less."""
        add(storage, "r1", status=RunStatus.FAILURE, started_at_us=1, ended_at_us=2)
        run = storage.project("r1", RunState(RunStatus.STARTED, started_at_us=7, state_seq=1))
        assert run is not None
        assert _facts(run) == (RunStatus.FAILURE, 1, 2, False)

    def test_unknown_run_is_not_projected(self, storage: RunStorage) -> None:
        """There is no row to write to: None, and none is made."""
        add(storage, "gone")
        storage.delete(["gone"])
        for run_id in ("nobody", "gone", *IMPOSSIBLE_NAMES):
            assert storage.project(run_id, _state(RunStatus.STARTED, 1)) is None
            assert storage.get([run_id]) == {}

    def test_updated_at_moves_with_changes_only(self, storage: RunStorage) -> None:
        """`updated_at` stays when the row says the same as before."""
        run = add(storage, "r1", status=RunStatus.QUEUED)
        same = storage.project("r1", _state(RunStatus.QUEUED, 1))
        assert same is not None
        assert same.updated_at_us == run.updated_at_us
        moved = storage.project("r1", _state(RunStatus.STARTED, 2))
        assert moved is not None
        assert run.updated_at_us <= moved.updated_at_us <= storage.now_us()

    def test_concurrent_projections(self, storage: RunStorage, second: RunStorage) -> None:
        """In whatever order projections of one log arrive, the newest stands in the end."""
        states = [
            _state(RunStatus.QUEUED, 1),
            _state(RunStatus.STARTING, 2),
            _state(RunStatus.STARTED, 3),
            _state(RunStatus.CANCELING, 4),
            _state(RunStatus.FAILURE, 5, presumed=True),
            _state(RunStatus.CANCELED, 6),
        ]
        for round_ in range(4):
            run_id = add(storage, f"r{round_}").run_id

            def project(seed: int, by: RunStorage, run_id: str = run_id) -> None:
                for state in random.Random(seed).sample(states, len(states)):
                    by.project(run_id, state)

            together([partial(project, 10 * round_ + n, by) for n, by in enumerate((storage, second) * 2)])
            run = storage.get([run_id])[run_id]
            assert _facts(run) == (RunStatus.CANCELED, 1_000, 1_006, False)
            assert run.projected_seq == 6

    def test_heartbeat_is_noted(self, storage: RunStorage) -> None:
        """Time (the storage's) and timeout stand on the run; everything else stays, `updated_at` too."""
        before = add(storage, "r1", tags=(("a", "1"),))
        earliest = storage.now_us()
        run = storage.heartbeat("r1", 90)
        assert run.heartbeat_at_us is not None
        assert earliest <= run.heartbeat_at_us <= storage.now_us()
        assert run.heartbeat_timeout_s == 90
        assert run._replace(heartbeat_at_us=None, heartbeat_timeout_s=None) == before
        assert storage.get(["r1"])["r1"] == run
        assert storage.heartbeat("r1", 5).heartbeat_timeout_s == 5

    def test_heartbeat_of_unknown_run(self, storage: RunStorage) -> None:
        """There is no such run, or no longer."""
        add(storage, "gone")
        storage.delete(["gone"])
        for run_id in ("nobody", "gone", *IMPOSSIBLE_NAMES):
            with pytest.raises(RunNotFound):
                storage.heartbeat(run_id, 60)
