"""All events of a run, page by page, whatever they weigh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daglens.instance import Instance
from daglens.storage.errors import DaglensError
from daglens.storage.records import EventQuery, EventRecord

_MOST_EVENTS = 200
_PAGE_BYTES = 1_048_576


class EventsGone(DaglensError):
    """Events of the run are gone: it is being deleted."""

    code = "RUN_DELETED"


def event_pages(instance: Instance, run_id: str, last_seq: int) -> Iterator[Sequence[EventRecord]]:
    """Events 1 to `last_seq`, dense. A storage knows no limit in bytes, so a page has as many events as would have made
    the one before weigh about 1 MiB.

    Raises:
        EventsGone, StorageUnavailable
    """
    seq, limit = 0, 16
    while seq < last_seq:
        query = EventQuery(run_id, after_seq=seq, limit=min(limit, last_seq - seq))
        (answer,) = instance.events.read([query])
        page = answer.events
        if not page or page[0].seq != seq + 1 or page[-1].seq != seq + len(page):
            raise EventsGone(f"Run {run_id}, event {seq + 1}.")
        yield page
        seq += len(page)
        weight = sum(len(event.data) + len(event.message) for event in page) // len(page)
        limit = min(_MOST_EVENTS, 4 * limit, max(1, _PAGE_BYTES // (weight + 1)))
