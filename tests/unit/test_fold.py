"""What a log adds up to, whatever it holds and however it is cut into batches."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import astuple, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daglens.storage import event_types as et
from daglens.storage.drafts import PreparedEvent, prepare
from daglens.storage.fold import fold, fold_state, moves, project, step_keys_of, tally
from daglens.storage.records import (
    EventDraft,
    Head,
    NewRun,
    RunRecord,
    RunState,
    RunStatus,
    StepState,
    StepStatus,
)

EMPTY = Head("r", "0" * 16)

# Mostly sensible: what is rare in a strategy is rare twice in a log.
attempts = st.sampled_from([1, 2, 3]) | st.none() | st.sampled_from([-1, 0, True, "2", 1.0, 2**40])
attempt_kinds = [et.STEP_START, et.STEP_RESTARTED, et.STEP_SUCCESS, et.STEP_FAILURE, et.STEP_UP_FOR_RETRY]
step_drafts = st.builds(
    lambda kind, key, at, attempt, success: EventDraft(
        kind,
        step_key=key,
        timestamp_us=at,
        data={k: v for k, v in (("attempt", attempt), ("success", success)) if v is not None},
    ),
    st.sampled_from(attempt_kinds) | st.sampled_from(sorted(et.STEP_EVENT_TYPES)),
    st.sampled_from(["a", "b"]),
    st.integers(0, 50),
    attempts,
    st.sampled_from([None, True, False, 0]),
)
run_drafts = st.builds(
    lambda kind, at, presumed: EventDraft(kind, timestamp_us=at, data={"presumed": True} if presumed else {}),
    st.sampled_from(sorted(et.STATUS_BY_EVENT_TYPE)),
    st.integers(0, 50),
    st.booleans(),
)
other_drafts = st.sampled_from([EventDraft("LOG_MESSAGE", step_key="a"), EventDraft("ENGINE_EVENT"), EventDraft("NEW")])
logs = st.lists(step_drafts | run_drafts | step_drafts | other_drafts, max_size=40)


def fold_in(batches: list[list[PreparedEvent]]) -> list[tuple[Head, dict[str, StepState]]]:
    """Head and steps after each batch; of the steps only those that the batch needs are handed in."""
    head, steps = EMPTY, dict[str, StepState]()
    after = []
    for batch in batches:
        folded = fold(head, {k: steps[k] for k in step_keys_of(batch) if k in steps}, batch, None)
        head, steps = folded.head, {**steps, **folded.steps}
        after.append((head, steps))
    return after


@given(logs, logs, st.booleans())
def test_tally_adds_up_to_the_fold(before: list[EventDraft], drafts: list[EventDraft], only_counted: bool) -> None:
    """Added to a log that knows its steps, a tally gives what folding gives; there is none when a state moves."""
    head, steps = fold_in([prepare(before, now=1)])[-1]
    kinds = {et.STEP_INPUT, et.STEP_OUTPUT, et.STEP_MATERIALIZATION, et.STEP_EXPECTATION_RESULT}
    if only_counted:
        drafts = [
            d
            for d in drafts
            if (d.event_type in kinds and d.step_key in steps)
            or d.event_type not in et.STEP_EVENT_TYPES | et.STATUS_BY_EVENT_TYPE.keys()
        ]
    events = prepare(drafts, now=1)
    added = tally(events)
    if added is None:
        assert not events or any(
            e.event_type in et.STATUS_BY_EVENT_TYPE or (e.event_type in et.STEP_EVENT_TYPES - kinds) for e in events
        )
        return
    if not set(added.step_keys) <= set(steps):
        return
    folded = fold(head, {key: steps[key] for key in added.step_keys}, events, None)
    counts = head.counts
    assert folded.head == replace(
        head,
        last_seq=head.last_seq + len(events),
        counts=replace(
            counts,
            materializations=counts.materializations + added.materializations,
            expectations=counts.expectations + added.expectations,
            expectations_failed=counts.expectations_failed + added.expectations_failed,
        ),
    )
    assert folded.steps == {
        key: replace(
            steps[key], materializations=steps[key].materializations + made, expectations=steps[key].expectations + met
        )
        for key, (made, met) in added.by_step.items()
    }
    assert added.counts == (folded.head.counts != counts)


@given(logs, st.data())
def test_batches_make_no_difference(drafts: list[EventDraft], data: st.DataObject) -> None:
    """One event at a time, all at once, or cut anywhere: head and steps are the same."""
    events = prepare(drafts, now=1)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    pieces = [events[a:b] for a, b in pairwise([0, *cuts, len(events)])]
    (whole,) = fold_in([events])
    assert fold_in(pieces)[-1] == whole
    assert fold_in([[event] for event in events] or [[]])[-1] == whole


@given(logs)
def test_state_is_monotone(drafts: list[EventDraft]) -> None:
    """Rank and state_seq only grow, a start once told stays, and a presumed failure gives way to a reported end
    only."""
    states = [RunState()] + [head.state for head, _ in fold_in([[event] for event in prepare(drafts, now=1)])]
    for seq, (before, after) in enumerate(pairwise(states), start=1):
        assert after.state_seq == (before.state_seq if after == before else seq)
        if before.status is not None:
            assert after.status is not None
            if before.presumed and (after.status, after.ended_at_us) != (before.status, before.ended_at_us):
                assert after.status.is_final
                assert not after.presumed
            elif not before.presumed:
                assert after.status.rank >= before.status.rank
                assert after.status is before.status or after.status.rank > before.status.rank
                assert not (before.status.is_final and after.ended_at_us != before.ended_at_us)
        assert before.started_at_us in (None, after.started_at_us)
        if after.status is not None:
            assert (after.ended_at_us is not None) is after.status.is_final
        assert not after.presumed or after.status is RunStatus.FAILURE


@given(logs)
def test_counts_are_those_of_the_steps(drafts: list[EventDraft]) -> None:
    """After every event the counts are what counting the steps and events anew gives; so none is ever negative."""
    events = prepare(drafts, now=1)
    for length, (head, steps) in enumerate(fold_in([[event] for event in events]), start=1):
        statuses = Counter(step.status for step in steps.values())
        kinds = Counter(event.event_type for event in events[:length])
        results = [event for event in events[:length] if event.event_type == et.STEP_EXPECTATION_RESULT]
        assert head.last_seq == length
        assert astuple(head.counts) == (
            statuses[StepStatus.IN_PROGRESS],
            statuses[StepStatus.SUCCESS],
            statuses[StepStatus.FAILURE],
            statuses[StepStatus.SKIPPED],
            kinds[et.STEP_MATERIALIZATION],
            kinds[et.STEP_EXPECTATION_RESULT],
            sum(event.data.get("success") is False for event in results),
        )
        assert sum(step.materializations for step in steps.values()) == head.counts.materializations
        assert sum(step.expectations for step in steps.values()) == head.counts.expectations


@given(logs)
def test_steps_hold_together(drafts: list[EventDraft]) -> None:
    """Attempts are in order and each once, from 1; the step's status is the last attempt's; a final end stays."""
    ended: dict[tuple[str, int], tuple[StepStatus, int | None]] = {}
    for _, steps in fold_in([[event] for event in prepare(drafts, now=1)]):
        for key, step in steps.items():
            numbers = [span.attempt for span in step.spans]
            assert step.step_key == key
            assert numbers == sorted(set(numbers))
            assert numbers[0] >= 1
            assert step.attempts == numbers[-1]
            assert step.status is step.spans[-1].status
            for span in step.spans:
                assert (span.ended_at_us is None) is (span.status is StepStatus.IN_PROGRESS)
                if span.status.is_final:
                    told = (span.status, span.ended_at_us)
                    assert ended.setdefault((key, span.attempt), told) == told


@given(logs)
def test_first_appearance_stays(drafts: list[EventDraft]) -> None:
    """A step's first_seq is that of its first step event."""
    events = prepare(drafts, now=1)
    ((_, steps),) = fold_in([events])
    expected: dict[str, int] = {}
    for seq, event in enumerate(events, start=1):
        if event.event_type in et.STEP_EVENT_TYPES and event.step_key is not None:
            expected.setdefault(event.step_key, seq)
    assert {key: step.first_seq for key, step in steps.items()} == expected
    assert list(step_keys_of(events)) == sorted(expected, key=lambda key: expected[key])


def test_moves_is_the_contracts_table() -> None:
    """From the contract: ranks, "only upward", and the one exception."""
    ranks = {
        RunStatus.NOT_STARTED: 0,
        RunStatus.QUEUED: 1,
        RunStatus.STARTING: 2,
        RunStatus.STARTED: 3,
        RunStatus.CANCELING: 4,
        RunStatus.SUCCESS: 5,
        RunStatus.FAILURE: 5,
        RunStatus.CANCELED: 5,
    }
    for old in RunStatus:
        for new in RunStatus:
            assert moves(old, False, new, False) is (ranks[new] > ranks[old])
        assert moves(old, False, RunStatus.FAILURE, True) is (ranks[old] < 5)
    for new in RunStatus:
        assert moves(RunStatus.FAILURE, True, new, False) is (ranks[new] == 5)
    assert not moves(RunStatus.FAILURE, True, RunStatus.FAILURE, True)


def test_heard_of() -> None:
    """A batch that is no sign of life leaves the last one."""
    heard = fold(EMPTY, {}, [], 7).head
    assert heard.heard_at_us == 7
    assert fold(heard, {}, prepare([EventDraft("A")], now=1), None).head.heard_at_us == 7


def test_step_event_without_a_step() -> None:
    """Such an event makes no step; what it reports is counted."""
    folded = fold(EMPTY, {}, prepare([EventDraft("STEP_MATERIALIZATION"), EventDraft("STEP_START")], now=1), None)
    assert folded.steps == {}
    assert folded.head.counts.materializations == 1
    assert folded.head.counts.steps_in_progress == 0


# ---------------------------------------------------------------- projection


def row(status: RunStatus = RunStatus.NOT_STARTED) -> RunRecord:
    """A run row as it is added."""
    run = NewRun("r", "p", status)
    return RunRecord(
        *("r", "p", status, (), "{}", None, None, None, 1, 1, None, None, None, None, None, False, 0, run.fingerprint())
    )


def projected(run: RunRecord, state: RunState) -> RunRecord:
    """The row after a projection."""
    move = project(run, state)
    if move is None:
        return run
    return run._replace(
        status=move.status,
        started_at_us=move.started_at_us,
        ended_at_us=move.ended_at_us,
        presumed=move.presumed,
        projected_seq=move.projected_seq,
    )


@given(st.lists(run_drafts, max_size=12), st.data(), st.sampled_from([RunStatus.NOT_STARTED, RunStatus.QUEUED]))
def test_row_follows_from_the_newest_state(drafts: list[EventDraft], data: st.DataObject, status: RunStatus) -> None:
    """However late, repeated or out of order the projections are: once the newest has come, the row says what the log
    says."""
    states = [RunState()]
    for seq, event in enumerate(prepare(drafts, now=1), start=1):
        states.append(fold_state(states[-1], seq, event.event_type, event.timestamp_us, event.data))
    order = data.draw(st.lists(st.sampled_from(states), max_size=8))
    order.insert(data.draw(st.integers(0, len(order))), states[-1])
    run = row(status)
    for state in order:
        run = projected(run, state)
    newest = states[-1]
    assert run == projected(row(status), newest)
    assert (run.started_at_us, run.ended_at_us, run.presumed) == (
        newest.started_at_us,
        newest.ended_at_us,
        newest.presumed,
    )
    assert run.status is (newest.status if newest.status and newest.status.rank > status.rank else status)


def test_projection_without_news_is_no_change() -> None:
    """The row remembers how far it was projected, and a live list hears nothing of it."""
    move = project(row(RunStatus.QUEUED), RunState(RunStatus.QUEUED, state_seq=3))
    assert move is not None
    assert (move.changed, move.projected_seq) == (False, 3)
    assert project(row()._replace(projected_seq=3), RunState(RunStatus.SUCCESS, state_seq=3)) is None


# ---------------------------------------------------------------- fingerprint


@given(
    st.permutations([("a", "1"), ("b", "2"), ("c", "3")]),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)),
)
def test_fingerprint_is_of_values(tags: list[tuple[str, str]], config: dict[str, object]) -> None:
    """Tags in any order and keys of the configuration in any order are the same run; anything else isn't."""
    one = NewRun("r", "p", tags=tuple(tags), run_config=config)
    other = NewRun("r", "p", tags=tuple(sorted(tags)), run_config=dict(reversed(config.items())))
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != NewRun("r", "p", tags=tuple(tags[1:]), run_config=config).fingerprint()
    assert one.fingerprint() != NewRun("r", "p", tags=tuple(tags), run_config={**config, "more": 1}).fingerprint()


def test_fingerprint_of_odd_configurations() -> None:
    """Keys of several kinds, text that can't be encoded and NaN are no error."""
    odd = NewRun("r", "p", run_config={1: "a", "b": "\ud800", "c": float("nan")})
    assert odd.fingerprint() == NewRun("r", "p", run_config={"b": "\ud800", "c": float("nan"), "1": "a"}).fingerprint()


def test_a_step_that_is_restarted_again_and_again() -> None:
    """One more attempt takes as few steps of Python's however many there were: a batch of 8,000, which anybody who
    records may send, held up every writer for 25 s."""
    calls = Counter[int]()
    for restarts in (10, 1_000):
        events = prepare([EventDraft(et.STEP_RESTARTED, step_key="a") for _ in range(restarts)], now=1)

        def count(frame: object, event: str, argument: object, key: int = restarts) -> None:
            calls[key] += event == "call"

        sys.setprofile(count)
        try:
            folded = fold(EMPTY, {}, events, None)
        finally:
            sys.setprofile(None)
        assert [span.attempt for span in folded.steps["a"].spans] == [*range(1, restarts + 1)]
    assert calls[1_000] < 200 * calls[10]
