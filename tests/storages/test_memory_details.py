"""What the in-memory storages do beyond the contract."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from daglens.storage.contract import NoConfig
from daglens.storage.drafts import EventLimits
from daglens.storage.errors import EventTooLarge, InvalidName, RunDeleted, RunFull
from daglens.storage.memory import InMemoryEventLogStorage, InMemoryRunStorage
from daglens.storage.memory.events import MAX_EXAMINED
from daglens.storage.records import MAX_SEQ, EventDraft, EventFilter, EventQuery, NewRun
from daglens.testing.threads import DEADLINE_S, Clock


def test_made_without_configuration(tmp_path: Path) -> None:
    """Both need no configuration and leave nothing in the instance's folder."""
    for kind in (InMemoryRunStorage, InMemoryEventLogStorage):
        assert kind.Config is NoConfig
        assert kind.from_config(NoConfig(), tmp_path).health().healthy
    assert list(tmp_path.iterdir()) == []


def test_run_full() -> None:
    """At 2,147,483,647 events a run is full; a batch that would go beyond stores nothing."""
    storage = InMemoryEventLogStorage()
    storage.append("r1", [EventDraft("A", event_id="first")])
    log = storage._logs["r1"]
    log.head, log.removed = replace(log.head, last_seq=MAX_SEQ - 1), MAX_SEQ - 2
    with pytest.raises(RunFull, match=f"{MAX_SEQ - 1} already, and 2"):
        storage.append("r1", [EventDraft("B"), EventDraft("C")])
    # A duplicate takes no place.
    batch = [EventDraft("B"), EventDraft("A", event_id="first")]
    assert storage.append("r1", batch).last_seq == MAX_SEQ
    with pytest.raises(RunFull):
        storage.append("r1", [EventDraft("C")])
    (page,) = storage.read([EventQuery("r1", MAX_SEQ - 2)])
    assert [(event.seq, event.event_type) for event in page.events] == [(1, "A"), (MAX_SEQ, "B")]


def test_filtered_read_stops_early() -> None:
    """A read that finds nothing looks at a bounded number of events, and the place moves on."""
    storage = InMemoryEventLogStorage()
    storage.append("r1", [EventDraft("LOG_MESSAGE")] * (MAX_EXAMINED + 5))
    query = EventQuery("r1", filter=EventFilter(event_types=["RUN_SUCCESS"]))
    (page,) = storage.read([query])
    assert (list(page.events), page.through_seq, page.has_more) == ([], MAX_EXAMINED, True)
    (page,) = storage.read([replace(query, after_seq=page.through_seq)])
    assert (list(page.events), page.through_seq, page.has_more) == ([], MAX_EXAMINED + 5, False)


def test_own_limits() -> None:
    """Limits can be set."""
    storage = InMemoryEventLogStorage(limits=EventLimits(max_message_chars=40, max_data_bytes=10))
    storage.append("r1", [EventDraft("A", message="x" * 100)])
    (page,) = storage.read([EventQuery("r1")])
    assert len(page.events[0].message) == 40
    with pytest.raises(EventTooLarge):
        storage.append("r1", [EventDraft("A", data={"x": "123456"})])


def test_live_mode() -> None:
    """There are no other processes; whoever appends here calls."""
    assert InMemoryEventLogStorage().live_mode == "CALLBACK"


def test_callback_may_use_the_storage() -> None:
    """A callback may read, append to another run, and stop its own watch: nothing stands still for it."""
    storage = InMemoryEventLogStorage()
    told: list[str | None] = []

    def on_news(run_id: str | None) -> None:
        told.append(run_id)
        if run_id == "r1":
            assert storage.heads(["r1"])["r1"].last_seq == 1
            storage.append("r2", [EventDraft("A")])
            watch.stop()

    watch = storage.watch(on_news)
    storage.append("r1", [EventDraft("A")])
    storage.append("r1", [EventDraft("A")])
    assert told == ["r1", "r2"]


def test_stop_waits_for_a_running_callback() -> None:
    """When `stop` has returned, no callback is still at work in another thread."""
    storage = InMemoryEventLogStorage()
    inside, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def on_news(run_id: str | None) -> None:
        inside.set()
        assert go_on.wait(DEADLINE_S)
        over.set()

    watch = storage.watch(on_news)
    writer = threading.Thread(target=storage.append, args=("r1", [EventDraft("A")]))
    writer.start()
    assert inside.wait(DEADLINE_S)
    was_over: list[bool] = []

    def stop() -> None:
        watch.stop()
        was_over.append(over.is_set())

    stopper = threading.Thread(target=stop)
    stopper.start()
    go_on.set()
    stopper.join(DEADLINE_S)
    writer.join(DEADLINE_S)
    assert was_over == [True]


def test_position_of_another_storage() -> None:
    """A position that an earlier process gave is refused, not misread."""
    earlier, later = InMemoryRunStorage(), InMemoryRunStorage()
    for storage in (earlier, later):
        storage.add(NewRun("r1", "p"))
    with pytest.raises(InvalidName):
        later.changes(earlier.changes(None, 1).position, 10)


@pytest.mark.parametrize("digits", ["9" * 5000, "", "-1", "1.5", "\u0661"], ids=len)
def test_forged_position(digits: str) -> None:
    """Whatever stands in the place of a position's number is refused as no position."""
    storage = InMemoryRunStorage()
    name = storage.changes(None, 1).position.partition("-")[0]
    with pytest.raises(InvalidName):
        storage.changes(f"{name}-{digits}", 10)


def test_position_that_is_not_reached_yet() -> None:
    """A position beyond the newest change was never given, so it is refused."""
    storage = InMemoryRunStorage()
    storage.add(NewRun("r1", "p"))
    position = storage.changes(None, 1).position
    assert position.endswith("-1")
    with pytest.raises(InvalidName):
        storage.changes(position[:-1] + "2", 10)


def test_unfinished_deletion_outlives_its_tombstone() -> None:
    """A log that still has events after 90 days waits until they are gone; only then is the run's id free."""
    clock = Clock()
    storage = InMemoryEventLogStorage(clock=clock)
    storage.append("r1", [EventDraft("A")] * 3)
    storage.close_runs(["r1"])
    clock.advance_days(100)
    assert storage.delete("r1", 2) == 2
    with pytest.raises(RunDeleted):
        storage.append("r1", [EventDraft("A")])
    assert storage.delete("r1", 2) == 1
    assert storage.append("r1", [EventDraft("A")]).first_seq == 1


def test_changes_do_not_pile_up() -> None:
    """A run that changes for ever is one entry in the end, and every position stays good."""
    storage = InMemoryRunStorage()
    start = storage.changes(None, 10).position
    for n in range(3):
        storage.add(NewRun(f"r{n}", "p"))
    for n in range(2_000):
        storage.add_tags("r1", [("n", str(n))])
    assert len(storage._changes._entries) < 200
    assert list(storage.changes(start, 10).changed) == ["r0", "r2", "r1"]
