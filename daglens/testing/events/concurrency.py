"""Many writers and tailing readers of one log, and of many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.records import EventDraft, EventFilter, EventQuery, EventRecord
from daglens.testing.events.topic import BACKWARD, FORWARD, EventTopic, check_slice, head, logged, read, seqs
from daglens.testing.threads import together

WRITERS = 8


class _Writers:
    """Counts the writers that are still at work."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self.done = threading.Event()

    def leave(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.done.set()


class EventConcurrency(EventTopic):
    """The promise: every event, to every reader, exactly once, in order, with no gap."""

    @pytest.mark.parametrize("batch", [1, 7])
    def test_tailing_readers_see_every_event_once(
        self, storage: EventLogStorage, second: EventLogStorage, batch: int
    ) -> None:
        """Eight threads append to one run while readers follow it: each reader gets 1, 2, 3, … to the end."""
        appends = 24
        total = WRITERS * appends * batch
        writers = _Writers(WRITERS)

        def write(worker: int, by: EventLogStorage) -> None:
            try:
                for number in range(appends):
                    drafts = [logged(f"{worker} {number} {n}", event_id=f"{worker} {number} {n}") for n in range(batch)]
                    appended = by.append("r1", drafts)
                    assert appended.first_seq is not None
                    assert appended.last_seq == appended.first_seq + batch - 1
            finally:
                writers.leave()

        def follow(by: EventLogStorage, filter: EventFilter | None) -> list[EventRecord]:
            got: list[EventRecord] = []
            place = 0
            while True:
                last = writers.done.is_set()
                page = read(by, after_seq=place, limit=50, filter=filter)
                if page.head is not None:
                    check_slice(page, FORWARD, place, 50)
                    got += page.events
                    place = page.through_seq
                if last and not page.has_more:
                    return got

        results: list[list[EventRecord]] = []

        def reader(by: EventLogStorage, filter: EventFilter | None) -> None:
            results.append(follow(by, filter))

        actions: list[Callable[[], None]] = [
            partial(reader, storage, None),
            partial(reader, second, None),
            partial(reader, second, EventFilter(event_types=["LOG_MESSAGE"])),
        ]
        actions += [partial(write, worker, by) for worker, by in enumerate((storage, second) * (WRITERS // 2))]
        together(actions)
        everything = read(storage, limit=total + 1).events
        assert seqs(everything) == list(range(1, total + 1))
        for got in results:
            assert seqs(got) == list(range(1, total + 1))
            assert got == list(everything)
        # Each writer's events stand in its own order, and its batches in one piece.
        for worker in range(WRITERS):
            own = [e for e in everything if e.message.startswith(f"{worker} ")]
            assert [e.message for e in own] == [f"{worker} {m} {n}" for m in range(appends) for n in range(batch)]
            for number in range(appends):
                piece = seqs(own[number * batch : (number + 1) * batch])
                assert piece == list(range(piece[0], piece[0] + batch))

    def test_counts_and_steps_of_concurrent_writers(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """Eight threads that report steps into one run lose no count."""
        rounds = 10

        def write(worker: int, by: EventLogStorage) -> None:
            for number in range(rounds):
                key = f"{worker} {number}"
                by.append("r1", [EventDraft("STEP_START", step_key=key)])
                made = EventDraft("STEP_MATERIALIZATION", step_key="shared")
                by.append("r1", [made, EventDraft("STEP_SUCCESS", step_key=key)])

        together([partial(write, worker, by) for worker, by in enumerate((storage, second) * (WRITERS // 2))])
        counts = head(storage).counts
        assert (counts.steps_succeeded, counts.materializations) == (WRITERS * rounds, WRITERS * rounds)
        assert counts.steps_in_progress == 1
        steps = {step.step_key: step for step in storage.steps(["r1"])["r1"]}
        assert len(steps) == WRITERS * rounds + 1
        assert steps["shared"].materializations == WRITERS * rounds

    def test_many_runs_at_once(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """Eight threads that write different runs, and each other's, keep every log dense."""

        def write(worker: int, by: EventLogStorage) -> None:
            for number in range(8):
                for run in (worker, (worker + number) % WRITERS):
                    by.append(f"r{run}", [logged(f"{worker} {number}"), logged("x")])

        together([partial(write, worker, by) for worker, by in enumerate((storage, second) * (WRITERS // 2))])
        pages = storage.read([EventQuery(f"r{run}", limit=1000) for run in range(WRITERS)])
        assert sum(len(page.events) for page in pages) == WRITERS * 8 * 2 * 2
        for page in pages:
            assert page.head is not None
            assert seqs(page.events) == list(range(1, page.head.last_seq + 1))

    def test_one_log_for_a_new_run(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """Threads whose appends all are the first of a run make one log together."""
        for round_ in range(5):
            answers = together(
                [partial(by.append, f"r{round_}", [logged(0)]) for by in (storage, second) * (WRITERS // 2)]
            )
            assert len({answer.head.incarnation for answer in answers}) == 1
            assert sorted(answer.first_seq or 0 for answer in answers) == list(range(1, WRITERS + 1))

    def test_head_and_events_of_a_slice_are_of_one_moment(
        self, storage: EventLogStorage, second: EventLogStorage
    ) -> None:
        """Read from the end while others write: the newest event is the one that the head names."""
        enough = threading.Event()

        def write(by: EventLogStorage) -> None:
            for number in range(500):
                if enough.is_set():
                    return
                by.append("r1", [logged(number)])

        def look() -> None:
            try:
                for _ in range(60):
                    page = read(storage, limit=3, order=BACKWARD)
                    if page.head is not None and page.head.last_seq:
                        assert seqs(page.events)[0] == page.head.last_seq
                        check_slice(page, BACKWARD, None, 3)
            finally:
                enough.set()

        actions: list[Callable[[], None]] = [look]
        actions += [partial(write, by) for by in (storage, second) * 2]
        together(actions)
