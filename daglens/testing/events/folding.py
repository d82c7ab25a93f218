"""What the head says of a run: status, times and counts, kept with every append."""

from __future__ import annotations

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.records import EventCounts, EventDraft, RunState, RunStatus
from daglens.testing.events.topic import EventTopic, head, messages

T0 = 1_700_000_000_000_000

# event types (FAILED? is a presumed RUN_FAILURE), status, index of the event that started and that ended the run
LIVES: dict[str, tuple[str, RunStatus | None, int | None, int | None]] = {
    "no run-level event": ("LOG_MESSAGE ENGINE_EVENT STEP_START", None, None, None),
    "enqueued": ("RUN_ENQUEUED", RunStatus.QUEUED, None, None),
    "starting": ("RUN_ENQUEUED RUN_STARTING", RunStatus.STARTING, None, None),
    "started": ("RUN_ENQUEUED RUN_STARTING RUN_START", RunStatus.STARTED, 2, None),
    "success": ("RUN_START LOG_MESSAGE RUN_SUCCESS", RunStatus.SUCCESS, 0, 2),
    "failure": ("RUN_START RUN_FAILURE", RunStatus.FAILURE, 0, 1),
    "canceling": ("RUN_START RUN_CANCELING", RunStatus.CANCELING, 0, None),
    "canceled": ("RUN_START RUN_CANCELING RUN_CANCELED", RunStatus.CANCELED, 0, 2),
    "success though it was to be canceled": ("RUN_START RUN_CANCELING RUN_SUCCESS", RunStatus.SUCCESS, 0, 2),
    "ranks left out": ("RUN_SUCCESS", RunStatus.SUCCESS, None, 0),
    "late start": ("RUN_SUCCESS RUN_START", RunStatus.SUCCESS, 1, 0),
    "late start of a canceled run": ("RUN_CANCELING RUN_START", RunStatus.CANCELING, 1, None),
    "second start": ("RUN_START RUN_START", RunStatus.STARTED, 0, None),
    "late steps down": ("RUN_START RUN_STARTING RUN_ENQUEUED", RunStatus.STARTED, 0, None),
    "first end stays": ("RUN_START RUN_SUCCESS RUN_FAILURE RUN_CANCELED RUN_CANCELING", RunStatus.SUCCESS, 0, 1),
    "presumed": ("RUN_START FAILED?", RunStatus.FAILURE, 0, 1),
    "presumed twice": ("RUN_START FAILED? FAILED?", RunStatus.FAILURE, 0, 1),
    "presumed, then success": ("RUN_START FAILED? RUN_SUCCESS", RunStatus.SUCCESS, 0, 2),
    "presumed, then failure": ("RUN_START FAILED? RUN_FAILURE", RunStatus.FAILURE, 0, 2),
    "presumed, then canceled": ("RUN_START FAILED? RUN_CANCELED", RunStatus.CANCELED, 0, 2),
    "presumed, then alive": ("RUN_START FAILED? RUN_START RUN_CANCELING", RunStatus.FAILURE, 0, 1),
    "presumed after the end": ("RUN_START RUN_SUCCESS FAILED?", RunStatus.SUCCESS, 0, 1),
    "presumed, success, failure": ("RUN_START FAILED? RUN_SUCCESS RUN_FAILURE", RunStatus.SUCCESS, 0, 2),
}


def _draft(index: int, name: str) -> EventDraft:
    step = "s" if name.startswith("STEP_") else None
    if name == "FAILED?":
        return EventDraft("RUN_FAILURE", timestamp_us=T0 + index, data={"presumed": True})
    return EventDraft(name, step_key=step, timestamp_us=T0 + index)


class EventFolding(EventTopic):
    """`Head.state` and `Head.counts`."""

    @pytest.mark.parametrize("one_by_one", [True, False])
    @pytest.mark.parametrize("name", list(LIVES))
    def test_state_of_the_run(self, storage: EventLogStorage, name: str, one_by_one: bool) -> None:
        """Events move a run only upward; a presumed failure gives way to a reported end. How they are batched makes
        no difference."""
        types, status, started, ended = LIVES[name]
        drafts = [_draft(index, type_) for index, type_ in enumerate(types.split())]
        for batch in [[draft] for draft in drafts] if one_by_one else [drafts]:
            last = storage.append("r1", batch)
        state = head(storage).state
        assert last.head.state == state
        assert (state.status, state.started_at_us, state.ended_at_us) == (
            status,
            None if started is None else T0 + started,
            None if ended is None else T0 + ended,
        )
        assert state.presumed is (name.startswith("presumed") and status is RunStatus.FAILURE and "failure" not in name)

    def test_state_seq_names_the_newest_change(self, storage: EventLogStorage) -> None:
        """It grows with events that change the state, and with no other."""
        grown = []
        for event_type in ("LOG_MESSAGE", "RUN_START", "LOG_MESSAGE", "RUN_START", "RUN_SUCCESS", "RUN_FAILURE"):
            grown.append(storage.append("r1", [EventDraft(event_type)]).head.state.state_seq)
        assert grown == [0, 2, 2, 2, 5, 5]

    def test_presumed_is_said_only_by_true(self, storage: EventLogStorage) -> None:
        """A failure is presumed when its data says so with `true`."""
        for n, value in enumerate((False, None, 1, "true")):
            appended = storage.append(f"r{n}", [EventDraft("RUN_FAILURE", data={"presumed": value})])
            assert not appended.head.state.presumed

    def test_log_without_run_events_says_nothing(self, storage: EventLogStorage) -> None:
        """The state of such a log is empty."""
        assert storage.append("r1", messages(1, 3)).head.state == RunState()

    @pytest.mark.parametrize("one_by_one", [True, False])
    def test_counts(self, storage: EventLogStorage, one_by_one: bool) -> None:
        """Steps are counted by their present status, materializations and expectations as they come."""

        def step(kind: str, key: str, **data: object) -> EventDraft:
            return EventDraft(f"STEP_{kind}", step_key=key, data=data)

        drafts = [
            *(step("START", key) for key in ("running", "done", "failed", "again", "retrying")),
            step("MATERIALIZATION", "done", label="x"),
            step("MATERIALIZATION", "done", label="y"),
            step("EXPECTATION_RESULT", "done", success=True),
            step("EXPECTATION_RESULT", "failed", success=False),
            step("EXPECTATION_RESULT", "failed", success=False),
            step("SUCCESS", "done"),
            step("FAILURE", "failed"),
            step("SKIPPED", "left out"),
            step("UP_FOR_RETRY", "again"),
            step("RESTARTED", "again"),
            step("UP_FOR_RETRY", "retrying"),
            EventDraft("LOG_MESSAGE", step_key="no step event"),
        ]
        for batch in [[draft] for draft in drafts] if one_by_one else [drafts]:
            storage.append("r1", batch)
        assert head(storage).counts == EventCounts(
            steps_in_progress=2,
            steps_succeeded=1,
            steps_failed=1,
            steps_skipped=1,
            materializations=2,
            expectations=3,
            expectations_failed=2,
        )

    def test_counts_belong_to_one_run(self, storage: EventLogStorage) -> None:
        """Steps of the same key in two runs are two steps."""
        storage.append("r1", [EventDraft("STEP_START", step_key="s")])
        storage.append("r2", [EventDraft("STEP_SUCCESS", step_key="s")])
        assert head(storage, "r1").counts == EventCounts(steps_in_progress=1)
        assert head(storage, "r2").counts == EventCounts(steps_succeeded=1)
