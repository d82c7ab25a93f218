"""Event ids: a writer can retry blindly."""

from __future__ import annotations

import threading
from functools import partial

from daglens.storage.contract import EventLogStorage
from daglens.storage.records import EventDraft
from daglens.testing.events.topic import EventTopic, head, identified, logged, messages, read, seqs, texts
from daglens.testing.threads import together


class EventDuplicates(EventTopic):
    """A draft whose event id the run has already is counted and left out."""

    def test_same_batch_again(self, storage: EventLogStorage) -> None:
        """The retry of a batch stores nothing; head, counts and steps stay."""
        batch = [
            EventDraft("STEP_START", step_key="s", event_id="1"),
            EventDraft("STEP_MATERIALIZATION", step_key="s", event_id="2"),
            EventDraft("STEP_EXPECTATION_RESULT", step_key="s", event_id="3", data={"success": False}),
        ]
        before = storage.append("r1", batch, heard=False).head
        steps = storage.steps(["r1"])
        again = storage.append("r1", batch, heard=False)
        assert (again.accepted, again.duplicates, again.first_seq, again.last_seq) == (0, 3, None, None)
        assert again.head == before == head(storage)
        assert storage.steps(["r1"]) == steps
        assert seqs(read(storage).events) == [1, 2, 3]

    def test_twice_in_one_batch(self, storage: EventLogStorage) -> None:
        """Of two drafts with one id in a batch, the first is stored."""
        batch = [logged(1, event_id="a"), logged(2, event_id="b"), logged(3, event_id="a"), logged(4, event_id="c")]
        appended = storage.append("r1", batch)
        assert (appended.accepted, appended.duplicates, appended.first_seq, appended.last_seq) == (3, 1, 1, 3)
        assert texts(read(storage).events) == ["1", "2", "4"]
        assert seqs(read(storage).events) == [1, 2, 3]

    def test_partly_known_batch(self, storage: EventLogStorage) -> None:
        """What is new is stored in its order and without a gap, wherever the known ones stand."""
        storage.append("r1", identified(2, 3))
        appended = storage.append("r1", identified(1, 5))
        assert (appended.accepted, appended.duplicates, appended.first_seq, appended.last_seq) == (3, 2, 3, 5)
        assert texts(read(storage).events) == ["2", "3", "1", "4", "5"]
        assert seqs(read(storage).events) == [1, 2, 3, 4, 5]

    def test_first_content_stays(self, storage: EventLogStorage) -> None:
        """A duplicate with other content doesn't replace what is stored."""
        storage.append("r1", [logged(1, event_id="a")])
        storage.append("r1", [EventDraft("STEP_START", step_key="s", message="other", event_id="a")])
        assert [(e.event_type, e.message) for e in read(storage).events] == [("LOG_MESSAGE", "1")]
        assert list(storage.steps(["r1"]).get("r1", ())) == []

    def test_without_an_id_nothing_is_a_duplicate(self, storage: EventLogStorage) -> None:
        """Equal events without ids are all stored."""
        for _ in range(2):
            assert storage.append("r1", [logged(1), logged(1)]).accepted == 2
        assert texts(read(storage).events) == ["1"] * 4

    def test_ids_are_compared_exactly(self, storage: EventLogStorage) -> None:
        """Case, spaces and the way a letter is composed tell ids apart."""
        ids = ["a", "A", "a ", " a", "é", "e\u0301", "0", "00", "a_b", "a%b"]
        assert storage.append("r1", [logged(n, event_id=id_) for n, id_ in enumerate(ids)]).accepted == len(ids)
        assert storage.append("r1", [logged(n, event_id=id_) for n, id_ in enumerate(ids)]).duplicates == len(ids)

    def test_ids_belong_to_one_run(self, storage: EventLogStorage) -> None:
        """The same id in another run is another event."""
        storage.append("r1", identified(1, 3))
        assert storage.append("r2", identified(1, 3)).accepted == 3

    def test_retry_while_the_first_try_is_under_way(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """The same batch from several threads at once, so also before its first try is committed: each event is
        stored once, in order, and no seq is left out."""
        for round_ in range(8):
            batch = identified(10 * round_ + 1, 10 * round_ + 10)
            tries = [partial(by.append, "r1", batch) for by in (storage, second) * 3]
            answers = together(tries)
            assert sum(answer.accepted for answer in answers) == 10
            assert sum(answer.duplicates for answer in answers) == 50
        events = read(storage).events
        assert seqs(events) == list(range(1, 81))
        assert texts(events) == [str(number) for number in range(1, 81)]

    def test_overlapping_retries_beside_other_writers(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """Batches that overlap, from several threads, while others append: each id once, dense."""
        stop = threading.Event()

        def retry(by: EventLogStorage, offset: int) -> int:
            try:
                return sum(by.append("r1", identified(n + offset, n + offset + 9)).accepted for n in range(0, 60, 5))
            finally:
                stop.set()

        def disturb(by: EventLogStorage) -> int:
            stored = 0
            while not stop.is_set() and stored < 200:
                stored += by.append("r1", messages(1000, 1001)).accepted
            return stored

        calls = [partial(retry, storage, 0), partial(retry, second, 3), partial(retry, second, 0)]
        stored = sum(together([*calls, partial(disturb, storage)]))
        events = read(storage).events
        assert seqs(events) == list(range(1, stored + 1))
        ids = [event.event_id for event in events if event.event_id is not None]
        assert sorted(ids) == sorted(f"id {number}" for number in range(68))
