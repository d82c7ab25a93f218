"""Step states, folded from the events of each step."""

from __future__ import annotations

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.records import EventDraft, StepState, StepStatus
from daglens.testing.events.topic import EventTopic, messages
from daglens.testing.names import IMPOSSIBLE_NAMES

SUCCESS, FAILURE, SKIPPED = StepStatus.SUCCESS, StepStatus.FAILURE, StepStatus.SKIPPED
RUNNING, RETRY = StepStatus.IN_PROGRESS, StepStatus.UP_FOR_RETRY

# Events of one step (what stands behind one is its explicit attempt, as JSON or else as text; the n-th event has
# timestamp n), the step's status, and (attempt, status, start, end) of each attempt.
Span = tuple[int, StepStatus, int | None, int | None]
LIVES: dict[str, tuple[str, StepStatus, list[Span]]] = {
    "started": ("START", RUNNING, [(1, RUNNING, 0, None)]),
    "success": ("START, OUTPUT, SUCCESS", SUCCESS, [(1, SUCCESS, 0, 2)]),
    "failure": ("START, FAILURE", FAILURE, [(1, FAILURE, 0, 1)]),
    "skipped": ("SKIPPED", SKIPPED, [(1, SKIPPED, None, 0)]),
    "up for retry": ("START, UP_FOR_RETRY", RETRY, [(1, RETRY, 0, 1)]),
    "restarted": ("START, UP_FOR_RETRY, RESTARTED", RUNNING, [(1, RETRY, 0, 1), (2, RUNNING, 2, None)]),
    "started again": ("START, UP_FOR_RETRY, START", RUNNING, [(1, RETRY, 0, 1), (2, RUNNING, 2, None)]),
    "restarted, then started": (
        "START, UP_FOR_RETRY, RESTARTED, START",
        RUNNING,
        [(1, RETRY, 0, 1), (2, RUNNING, 2, None)],
    ),
    "second attempt succeeds": (
        "START, UP_FOR_RETRY, RESTARTED, SUCCESS",
        SUCCESS,
        [(1, RETRY, 0, 1), (2, SUCCESS, 2, 3)],
    ),
    "three attempts": (
        "START 1, UP_FOR_RETRY 1, RESTARTED 2, UP_FOR_RETRY 2, RESTARTED 3, FAILURE 3",
        FAILURE,
        [(1, RETRY, 0, 1), (2, RETRY, 2, 3), (3, FAILURE, 4, 5)],
    ),
    "later attempt only": ("START 4", RUNNING, [(4, RUNNING, 0, None)]),
    "up for retry twice": ("START, UP_FOR_RETRY, UP_FOR_RETRY", RETRY, [(1, RETRY, 0, 1)]),
    "earlier attempt comes late": ("START 2, START 1", RUNNING, [(1, RUNNING, 1, None), (2, RUNNING, 0, None)]),
    "given up": ("START, UP_FOR_RETRY, FAILURE", FAILURE, [(1, FAILURE, 0, 2)]),
    "first end stays": ("START, SUCCESS, FAILURE, UP_FOR_RETRY, SKIPPED", SUCCESS, [(1, SUCCESS, 0, 1)]),
    "late start": ("SUCCESS, START", SUCCESS, [(1, SUCCESS, 1, 0)]),
    "late end of an attempt before": (
        "START 1, RESTARTED 2, FAILURE 1",
        RUNNING,
        [(1, FAILURE, 0, 2), (2, RUNNING, 1, None)],
    ),
    "late event of the step": ("START, SUCCESS, OUTPUT, INPUT", SUCCESS, [(1, SUCCESS, 0, 1)]),
    "output alone": ("OUTPUT", RUNNING, [(1, RUNNING, None, None)]),
    "attempt that is no number": (
        "START 2, SUCCESS true, START two, START 0",
        SUCCESS,
        [(2, SUCCESS, 0, 1)],
    ),
}


_ATTEMPTS: dict[str, object] = {"true": True, **{str(number): number for number in range(5)}}


def _drafts(life: str) -> list[EventDraft]:
    drafts = []
    for index, part in enumerate(life.split(", ")):
        kind, _, attempt = part.partition(" ")
        data = {"attempt": _ATTEMPTS.get(attempt, attempt)} if attempt else {}
        drafts.append(EventDraft(f"STEP_{kind}", step_key="s", timestamp_us=index, data=data))
    return drafts


class EventSteps(EventTopic):
    """`steps`."""

    @pytest.mark.parametrize("one_by_one", [True, False])
    @pytest.mark.parametrize("name", list(LIVES))
    def test_state_of_a_step(self, storage: EventLogStorage, name: str, one_by_one: bool) -> None:
        """Status and attempts follow from the events, however they were batched; an end stays, and what comes late
        only completes the attempt that it belongs to."""
        life, status, spans = LIVES[name]
        drafts = _drafts(life)
        for batch in [[draft] for draft in drafts] if one_by_one else [drafts]:
            storage.append("r1", batch)
        (step,) = storage.steps(["r1"])["r1"]
        assert (step.run_id, step.step_key, step.first_seq, step.status) == ("r1", "s", 1, status)
        assert [tuple(span) for span in step.spans] == spans
        assert step.attempts == spans[-1][0]

    def test_what_a_step_made_is_counted(self, storage: EventLogStorage) -> None:
        """Materializations and expectations of each step, over all its attempts, late ones too."""
        for key in ("a", "b"):
            storage.append("r1", [EventDraft("STEP_START", step_key=key)])
        for kind, key in (("MATERIALIZATION", "a"), ("EXPECTATION_RESULT", "a"), ("UP_FOR_RETRY", "a")):
            storage.append("r1", [EventDraft(f"STEP_{kind}", step_key=key)])
        storage.append("r1", [EventDraft("STEP_RESTARTED", step_key="a"), EventDraft("STEP_SUCCESS", step_key="a")])
        storage.append("r1", [EventDraft("STEP_MATERIALIZATION", step_key="a")] * 2)
        assert [(s.step_key, s.materializations, s.expectations) for s in storage.steps(["r1"])["r1"]] == [
            ("a", 3, 1),
            ("b", 0, 0),
        ]

    def test_order_is_of_first_appearance(self, storage: EventLogStorage) -> None:
        """Steps stand in the order in which the log first spoke of them, whatever their names or later events."""
        for key in ("zebra", "ant", "_", "Ant", "bee"):
            storage.append("r1", [EventDraft("STEP_START", step_key=key), *messages(1, 1)])
        storage.append("r1", [EventDraft("STEP_SUCCESS", step_key="bee"), EventDraft("STEP_SUCCESS", step_key="ant")])
        assert [(s.step_key, s.first_seq) for s in storage.steps(["r1"])["r1"]] == [
            ("zebra", 1),
            ("ant", 3),
            ("_", 5),
            ("Ant", 7),
            ("bee", 9),
        ]

    def test_events_of_other_kinds_make_no_step(self, storage: EventLogStorage) -> None:
        """A message or an unknown event with a step key is no step."""
        keyed = [EventDraft(t, step_key="s") for t in ("LOG_MESSAGE", "LOGS_CAPTURED", "ENGINE_EVENT", "STEP_DREAMT")]
        storage.append("r1", [*keyed, EventDraft("STEP_START", step_key="real")])
        assert [step.step_key for step in storage.steps(["r1"])["r1"]] == ["real"]

    def test_some_steps_of_many_runs(self, storage: EventLogStorage) -> None:
        """By keys, at most `limit` per run, for many runs in one call; runs without steps have none."""
        for n in range(4):
            storage.append(f"r{n}", [EventDraft("STEP_START", step_key=f"s{k}") for k in range(n)])

        def keys(found: object) -> dict[str, list[str]]:
            assert isinstance(found, dict)
            return {run_id: [s.step_key for s in steps] for run_id, steps in found.items() if steps}

        runs = ["r3", "nobody", "r0", "r1", "r2"]
        assert keys(storage.steps(runs)) == {"r1": ["s0"], "r2": ["s0", "s1"], "r3": ["s0", "s1", "s2"]}
        assert keys(storage.steps(runs, ["s2", "s1", "never", "s2"])) == {"r2": ["s1"], "r3": ["s1", "s2"]}
        assert keys(storage.steps(runs, limit=2)) == {"r1": ["s0"], "r2": ["s0", "s1"], "r3": ["s0", "s1"]}
        assert keys(storage.steps(runs, ["s1", "s2"], limit=1)) == {"r2": ["s1"], "r3": ["s1"]}
        assert keys(storage.steps(runs, [])) == {}
        assert keys(storage.steps(runs, limit=0)) == {}
        assert keys(storage.steps([])) == {}
        assert keys(storage.steps([f"x{n}" for n in range(3000)] + ["r1"])) == {"r1": ["s0"]}

    def test_impossible_names_have_no_steps(self, storage: EventLogStorage) -> None:
        """Names that no run or step can have find nothing, without an error."""
        storage.append("r1", [EventDraft("STEP_START", step_key="s")])
        assert not any(storage.steps(list(IMPOSSIBLE_NAMES)).values())
        assert not any(storage.steps(["r1"], list(IMPOSSIBLE_NAMES)).values())

    def test_same_on_another_instance(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """Both write to one step, both read the same."""
        storage.append("r1", [EventDraft("STEP_START", step_key="s", timestamp_us=1)])
        second.append("r1", [EventDraft("STEP_SUCCESS", step_key="s", timestamp_us=2)])
        expected = StepState("r1", "s", 1, SUCCESS, storage.steps(["r1"])["r1"][0].spans)
        assert list(storage.steps(["r1"])["r1"]) == list(second.steps(["r1"])["r1"]) == [expected]
