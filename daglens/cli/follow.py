"""Walking one run's log from the command line: page by page, and on while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from daglens.instance import Instance
from daglens.storage.errors import RunDeleted
from daglens.storage.records import EventFilter, EventQuery, EventRecord, EventsOrder

_PAGE = 500
_POLL_S = 0.25


def walk(instance: Instance, run_id: str, after_seq: int, filter: EventFilter | None) -> Iterator[EventRecord]:
    """Events after `after_seq` up to the present end, in order."""
    for _, events in _pages(instance, run_id, after_seq, filter):
        yield from events


def last(instance: Instance, run_id: str, count: int, filter: EventFilter | None) -> tuple[list[EventRecord], int]:
    """The last `count` events that match, in order, and the seq up to which the log was examined."""
    found: list[EventRecord] = []
    before: int | None = None
    through: int | None = None
    while len(found) < count or through is None:
        query = EventQuery(run_id, before, min(_PAGE, count - len(found)), filter, EventsOrder.NEWEST_FIRST)
        part = instance.events.read([query])[0]
        if through is None:
            # The head is of the same moment as the events: following from here neither skips nor repeats one.
            through = part.head.last_seq if part.head else 0
        found.extend(part.events)
        if not part.has_more:
            break
        before = part.through_seq
    return found[::-1], through


def follow(instance: Instance, run_id: str, after_seq: int, filter: EventFilter | None) -> Iterator[EventRecord]:
    """Events after `after_seq`, then live ones, until the run has ended and all is told.

    Raises:
        RunDeleted: The run was deleted meanwhile.
    """
    news = threading.Event()
    watch = instance.events.watch(lambda _: news.set())
    try:
        while True:
            news.clear()
            # Read before the events are: an end that is seen here has all its events in the log already.
            ended = _has_ended(instance, run_id)
            for through, events in _pages(instance, run_id, after_seq, filter):
                after_seq = through
                yield from events
            if ended:
                return
            news.wait(_POLL_S)
    finally:
        watch.stop()


def _has_ended(instance: Instance, run_id: str) -> bool:
    head = instance.events.heads([run_id]).get(run_id)
    if head is not None and head.deleted:
        raise RunDeleted(run_id)
    run = instance.run(run_id)
    return run is None or run.status.is_final


def _pages(
    instance: Instance, run_id: str, after_seq: int, filter: EventFilter | None
) -> Iterator[tuple[int, Sequence[EventRecord]]]:
    more = True
    while more:
        part = instance.events.read([EventQuery(run_id, after_seq, _PAGE, filter)])[0]
        after_seq, more = part.through_seq, part.has_more
        yield after_seq, part.events
