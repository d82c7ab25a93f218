"""Reading a log forward and backward, and heads of many runs."""

from __future__ import annotations

import pytest

from daglens.storage.contract import EventLogStorage
from daglens.storage.records import EventQuery, EventsOrder
from daglens.testing.events.topic import (
    BACKWARD,
    FORWARD,
    EventTopic,
    check_slice,
    head,
    messages,
    read,
    seqs,
    texts,
    walk,
)
from daglens.testing.names import IMPOSSIBLE_NAMES


class EventReading(EventTopic):
    """`read` without a filter, and `heads`."""

    @pytest.mark.parametrize("order", [FORWARD, BACKWARD])
    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7, 8])
    def test_walk_gives_every_event_once(self, storage: EventLogStorage, limit: int, order: EventsOrder) -> None:
        """Whatever the page size: each event once, in order, with exact places and an exact end."""
        storage.append("r1", messages(1, 7))
        events = walk(storage, order=order, limit=limit)
        expected = list(range(1, 8)) if order is FORWARD else list(range(7, 0, -1))
        assert seqs(events) == expected
        assert texts(events) == [str(seq) for seq in expected]

    def test_pages_forward(self, storage: EventLogStorage) -> None:
        """Events after a seq; `through_seq` is the last one examined."""
        storage.append("r1", messages(1, 5))
        for after, limit, expected, through, more in (
            (None, 2, [1, 2], 2, True),
            (0, 2, [1, 2], 2, True),
            (2, 2, [3, 4], 4, True),
            (4, 2, [5], 5, False),
            (3, 2, [4, 5], 5, False),
            (5, 2, [], 5, False),
            (None, 5, [1, 2, 3, 4, 5], 5, False),
        ):
            page = read(storage, after_seq=after, limit=limit)
            assert (seqs(page.events), page.through_seq, page.has_more) == (expected, through, more), (after, limit)

    def test_pages_backward(self, storage: EventLogStorage) -> None:
        """Events before a seq, newest first; None begins at the end."""
        storage.append("r1", messages(1, 5))
        for after, limit, expected, through, more in (
            (None, 2, [5, 4], 4, True),
            (6, 2, [5, 4], 4, True),
            (4, 2, [3, 2], 2, True),
            (3, 2, [2, 1], 1, False),
            (2, 2, [1], 1, False),
            (1, 2, [], 1, False),
            (None, 5, [5, 4, 3, 2, 1], 1, False),
        ):
            page = read(storage, after_seq=after, limit=limit, order=BACKWARD)
            assert (seqs(page.events), page.through_seq, page.has_more) == (expected, through, more), (after, limit)

    def test_limit_zero_asks_for_the_head(self, storage: EventLogStorage) -> None:
        """No events; the place is where it was, and there are more if there are."""
        storage.append("r1", messages(1, 3))
        for after, order, through, more in (
            (None, FORWARD, 0, True),
            (2, FORWARD, 2, True),
            (3, FORWARD, 3, False),
            (None, BACKWARD, 4, True),
            (2, BACKWARD, 2, True),
            (1, BACKWARD, 1, False),
        ):
            page = read(storage, after_seq=after, limit=0, order=order)
            assert (list(page.events), page.through_seq, page.has_more) == ([], through, more), (after, order)
            assert page.head == head(storage)

    def test_beyond_the_end(self, storage: EventLogStorage) -> None:
        """After the newest event there is nothing yet; the place stays, and later events are found from it."""
        storage.append("r1", messages(1, 3))
        page = read(storage, after_seq=3)
        assert (list(page.events), page.through_seq, page.has_more) == ([], 3, False)
        page = read(storage, after_seq=2_147_483_647)
        assert (list(page.events), page.through_seq, page.has_more) == ([], 2_147_483_647, False)
        storage.append("r1", messages(4, 4))
        assert seqs(read(storage, after_seq=3).events) == [4]
        assert seqs(read(storage, after_seq=2_147_483_647, order=BACKWARD).events) == [4, 3, 2, 1]

    @pytest.mark.parametrize("run_id", ["nobody", *IMPOSSIBLE_NAMES], ids=ascii)
    def test_run_without_a_log(self, storage: EventLogStorage, run_id: str) -> None:
        """No head, no events, no more; the place stays. That is so for names that no run can have, too."""
        storage.append("r1", messages(1, 3))
        for after, order, through in ((None, FORWARD, 0), (7, FORWARD, 7), (None, BACKWARD, 1), (7, BACKWARD, 7)):
            page = read(storage, run_id, after_seq=after, order=order)
            assert page.head is None
            assert (list(page.events), page.through_seq, page.has_more) == ([], through, False)
        assert storage.heads([run_id]) == {}

    def test_many_queries_in_one_call(self, storage: EventLogStorage) -> None:
        """One answer per query, in order of the queries, also when a run is asked about twice."""
        for n in range(1, 30):
            storage.append(f"r{n}", messages(1, n))
        queries = [EventQuery(f"r{n}", after_seq=n - 1 if n > 1 else None, limit=1) for n in range(1, 30)]
        queries += [
            EventQuery("nobody"),
            EventQuery("r5", limit=2, order=BACKWARD),
            EventQuery("r5", after_seq=3),
            EventQuery("r5", after_seq=3),
            EventQuery("r3", limit=0),
        ]
        answers = storage.read(queries)
        assert len(answers) == len(queries)
        for query, answer in zip(queries, answers, strict=True):
            assert answer == read(storage, query.run_id, query.after_seq, query.limit, None, query.order)
            check_slice(answer, query.order, query.after_seq, query.limit)
        assert [(e.run_id, e.seq) for answer in answers[:29] for e in answer.events] == [
            (f"r{n}", n) for n in range(1, 30)
        ]
        assert [seqs(answer.events) for answer in answers[29:]] == [[], [5, 4], [4, 5], [4, 5], []]
        assert list(storage.read([])) == []

    def test_same_position_again(self, storage: EventLogStorage) -> None:
        """Reading takes nothing away."""
        storage.append("r1", messages(1, 3))
        assert read(storage) == read(storage)

    def test_heads_of_many_runs(self, storage: EventLogStorage) -> None:
        """Any number of ids in one call; those without a log are left out."""
        for n in range(5):
            storage.append(f"r{n}", messages(0, n))
        heads = storage.heads([f"r{n}" for n in range(3000)])
        assert {run_id: (found.run_id, found.last_seq) for run_id, found in heads.items()} == {
            f"r{n}": (f"r{n}", n + 1) for n in range(5)
        }
        assert storage.heads([]) == {}

    def test_head_is_the_same_wherever_it_is_read(self, storage: EventLogStorage, second: EventLogStorage) -> None:
        """As an answer to append, with events, by itself, and on another instance."""
        appended = storage.append("r1", messages(1, 3)).head
        assert not appended.deleted
        assert read(storage).head == appended
        assert storage.heads(["r1"]) == second.heads(["r1"]) == {"r1": appended}
