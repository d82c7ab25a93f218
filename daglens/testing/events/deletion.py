"""Closing a log and removing it in bounded batches."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from daglens.storage.contract import TOMBSTONE_DAYS, EventLogStorage
from daglens.storage.errors import RunDeleted
from daglens.storage.records import EventDraft
from daglens.testing.events.topic import EventTopic, head, identified, messages, read, seqs
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.threads import Clock, together


def _remove(storage: EventLogStorage, run_id: str = "r1") -> None:
    storage.close_runs([run_id])
    while storage.delete(run_id) >= 10_000:
        pass


class EventDeletion(EventTopic):
    """`close_runs` and `delete`."""

    def test_closed_run_takes_no_events(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """After closing, an append raises RunDeleted on every instance and stores nothing; the events before count."""
        before = storage.append("r1", messages(1, 3)).head
        storage.close_runs(["r1"])
        for by in (storage, second):
            for batch in (messages(4, 4), []):
                with pytest.raises(RunDeleted) as caught:
                    by.append("r1", batch)
                assert caught.value.run_id == "r1"
        closed = head(storage)
        assert (closed.deleted, closed.last_seq, closed.incarnation) == (True, 3, before.incarnation)

    def test_retry_of_a_stored_batch_is_refused_too(self, storage: EventLogStorage) -> None:
        """Also a batch that the run had already: its writer must learn that the run is gone."""
        storage.append("r1", identified(1, 2))
        storage.close_runs(["r1"])
        with pytest.raises(RunDeleted):
            storage.append("r1", identified(1, 2))

    def test_run_without_a_log_is_closed(self, storage: EventLogStorage) -> None:
        """A log that was never begun is closed as well: a late first event doesn't bring the run back."""
        storage.close_runs(["r1"])
        assert head(storage).deleted
        with pytest.raises(RunDeleted):
            storage.append("r1", messages(1, 1))
        assert storage.delete("r1") == 0

    def test_closing_is_repeatable(self, storage: EventLogStorage) -> None:
        """Closing again, or nothing, changes nothing; other runs in the call are closed with it."""
        storage.append("r1", messages(1, 3))
        storage.append("r2", messages(1, 1))
        storage.close_runs(["r1"])
        closed = head(storage)
        storage.close_runs([])
        storage.close_runs(["r2", "r1", "r1"])
        assert head(storage) == closed
        assert head(storage, "r2").deleted

    def test_removes_in_bounded_batches(self, storage: EventLogStorage) -> None:
        """At most `max_events` go at a time; fewer than that means done; then the log is empty, and stays closed."""
        storage.append("r1", messages(1, 25))
        storage.close_runs(["r1"])
        assert [storage.delete("r1", 10) for _ in range(4)] == [10, 10, 5, 0]
        page = read(storage)
        assert (list(page.events), page.has_more) == ([], False)
        assert head(storage).deleted
        with pytest.raises(RunDeleted):
            storage.append("r1", messages(26, 26))

    def test_last_batch_that_is_just_full(self, storage: EventLogStorage) -> None:
        """When exactly `max_events` were left, the next call says 0."""
        storage.append("r1", [EventDraft("STEP_START", step_key="s"), *messages(1, 19)])
        storage.close_runs(["r1"])
        assert [storage.delete("r1", 10) for _ in range(3)] == [10, 10, 0]
        assert not any(storage.steps(["r1"]).values())

    def test_steps_go_with_the_last_event(self, storage: EventLogStorage) -> None:
        """Nothing of the run is left but its closed head."""
        storage.append("r1", [EventDraft("STEP_START", step_key="s"), *messages(1, 3)])
        _remove(storage)
        assert not any(storage.steps(["r1"]).values())
        assert list(read(storage).events) == []
        assert list(storage.heads(["r1"])) == ["r1"]

    def test_reading_while_it_goes(self, storage: EventLogStorage) -> None:
        """A log that is half removed reads as some of its events, and says that it is deleted."""
        storage.append("r1", messages(1, 10))
        storage.close_runs(["r1"])
        storage.delete("r1", 4)
        page = read(storage)
        assert page.head is not None
        assert page.head.deleted
        assert len(page.events) == 6
        assert [event.message for event in page.events] == [str(seq) for seq in seqs(page.events)]

    def test_open_run_keeps_everything(self, storage: EventLogStorage) -> None:
        """What isn't closed isn't removed, and an unknown run neither."""
        storage.append("r1", messages(1, 3))
        before = head(storage)
        assert storage.delete("r1") == 0
        assert storage.delete("nobody") == 0
        assert head(storage) == before
        assert seqs(read(storage).events) == [1, 2, 3]
        assert storage.heads(["nobody"]) == {}

    def test_other_runs_stay(self, storage: EventLogStorage) -> None:
        """Only the run that was named goes."""
        for run_id in ("r1", "r2"):
            storage.append(run_id, [EventDraft("STEP_START", step_key="s"), *identified(1, 3)])
        kept = (head(storage, "r2"), read(storage, "r2"), storage.steps(["r2"]))
        _remove(storage, "r1")
        assert (head(storage, "r2"), read(storage, "r2"), storage.steps(["r2"])) == kept
        assert storage.append("r2", identified(1, 4)).accepted == 1

    def test_carried_on_by_another_instance(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """A deletion that ended half way is finished by anybody."""
        storage.append("r1", messages(1, 25))
        storage.close_runs(["r1"])
        storage.delete("r1", 10)
        second.close_runs(["r1"])
        assert second.delete("r1", 100) == 15
        assert storage.delete("r1", 100) == 0

    def test_impossible_names(self, storage: EventLogStorage) -> None:
        """What can't exist has nothing to remove."""
        for name in IMPOSSIBLE_NAMES:
            assert storage.delete(name) == 0

    def test_closing_beside_writers(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """An append either comes before the closing and counts, or raises RunDeleted: none is lost in between."""
        begun = threading.Semaphore(0)
        writers = 4

        def write(by: EventLogStorage) -> int:
            stored = 0
            try:
                for _ in range(5_000):
                    stored += by.append("r1", messages(1, 2)).accepted
                    begun.release()
            except RunDeleted:
                return stored
            raise AssertionError("the run takes events after it was closed")

        def close() -> int:
            for _ in range(writers * 2):
                begun.acquire()
            second.close_runs(["r1"])
            return 0

        writing = [partial(write, by) for by in (storage, second) * (writers // 2)]
        stored = sum(together([partial(close), *writing]))
        assert head(storage).last_seq == stored
        assert storage.delete("r1", stored + 1) == stored


class EventTombstoneExpiry(EventTopic):
    """Closed heads go after 90 days. For storages whose clock can be set: it gives the fixture `clock`, too, and
    `storage` uses it."""

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock that `storage` was made with."""
        return Clock()

    def test_log_begins_anew_after_ninety_days(self, storage: EventLogStorage, clock: Clock) -> None:
        """Before, the run is closed; after, its log is a new one, with another incarnation and seqs from 1."""
        old = storage.append("r1", identified(1, 3)).head
        _remove(storage)
        storage.close_runs(["never was"])
        clock.advance_days(TOMBSTONE_DAYS - 1)
        for run_id in ("r1", "never was"):
            storage.delete(run_id)
            with pytest.raises(RunDeleted):
                storage.append(run_id, messages(1, 1))
        clock.advance_days(2)
        # Old tombstones go while something else is deleted.
        storage.close_runs(["another"])
        storage.delete("another")
        new = storage.append("r1", identified(1, 2))
        assert (new.accepted, new.first_seq, new.head.deleted) == (2, 1, False)
        assert new.head.incarnation != old.incarnation
        assert storage.append("never was", messages(1, 1)).first_seq == 1
        with pytest.raises(RunDeleted):
            storage.append("another", messages(1, 1))

    def test_log_begins_anew_though_nothing_else_was_deleted(
        self, storage: EventLogStorage, second: EventLogStorage, clock: Clock
    ) -> None:
        """The run storage takes a run of that id again by then; its events must not be refused."""
        old = storage.append("r1", identified(1, 3)).head
        _remove(storage)
        clock.advance_days(TOMBSTONE_DAYS + 1)
        together([partial(by.append, "r1", messages(1, 2)) for by in (storage, second) * 2])
        new = head(storage)
        assert (new.last_seq, new.deleted) == (8, False)
        assert new.incarnation != old.incarnation
        assert seqs(read(storage).events) == list(range(1, 9))

    def test_times_are_of_the_storage_clock(self, storage: EventLogStorage, clock: Clock) -> None:
        """Events without a time, and the last sign of life: by this clock."""
        storage.append("r1", messages(1, 1))
        clock.advance_days(1)
        assert storage.append("r1", messages(2, 2)).head.heard_at_us == clock()
        assert [event.timestamp_us for event in read(storage).events] == [clock() - 86_400_000_000, clock()]
