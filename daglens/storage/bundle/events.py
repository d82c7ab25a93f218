"""The events of bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from daglens.storage.bundle.file import BundleFile
from daglens.storage.bundle.opened import BundleStorage, OpenBundle, refuse
from daglens.storage.contract import EventLogStorage
from daglens.storage.records import (
    Appended,
    EventDraft,
    EventFilter,
    EventQuery,
    EventRecord,
    EventSlice,
    EventsOrder,
    Head,
    StepState,
)

_MAX_EXAMINED = 20_000


class BundleEventLogStorage(BundleStorage, EventLogStorage):
    """Events of bundles, read from their places in the files. Appending and deleting raise ReadOnlyBundle."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        """See EventLogStorage. A filtered read looks at no more than 20,000 events."""
        return [_read(self._by_run.get(query.run_id), query) for query in queries]

    def heads(self, run_ids: Sequence[str]) -> Mapping[str, Head]:
        """See EventLogStorage."""
        return {run_id: self._by_run[run_id].head for run_id in run_ids if run_id in self._by_run}

    def steps(
        self, run_ids: Sequence[str], step_keys: Sequence[str] | None = None, limit: int = 1000
    ) -> Mapping[str, Sequence[StepState]]:
        """See EventLogStorage."""
        wanted = None if step_keys is None else set(step_keys)
        return {
            run_id: [step for step in self._by_run[run_id].steps.values() if wanted is None or step.step_key in wanted][
                :limit
            ]
            for run_id in run_ids
            if run_id in self._by_run
        }

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        """Raises ReadOnlyBundle."""
        refuse(run_id)

    def close_runs(self, run_ids: Sequence[str]) -> None:
        """Raises ReadOnlyBundle."""
        refuse(", ".join(run_ids))

    def delete(self, run_id: str, max_events: int = 10_000) -> int:
        """Raises ReadOnlyBundle."""
        refuse(run_id)


def _read(bundle: OpenBundle | None, query: EventQuery) -> EventSlice:
    forward = query.order is EventsOrder.OLDEST_FIRST
    last = 0 if bundle is None else bundle.head.last_seq
    if query.after_seq is not None:
        through = query.after_seq
    else:
        through = 0 if forward else last + 1
    if bundle is None:
        return EventSlice(None, (), through, has_more=False)
    found: list[EventRecord] = []
    if query.limit > 0:
        events = _forward(bundle.file, through) if forward else _backward(bundle.file, min(through, last + 1))
        for examined, event in enumerate(events, 1):
            through = event.seq
            if query.filter is None or _matches(event, query.filter):
                found.append(event)
            if len(found) == query.limit or (examined >= _MAX_EXAMINED and query.filter is not None):
                break
    has_more = through < last if forward else last > 0 and through > 1
    return EventSlice(bundle.head, found, through, has_more)


def _forward(file: BundleFile, after_seq: int) -> Iterator[EventRecord]:
    return (file.record(seq, event) for seq, event in file.events(max(after_seq, 0) + 1))


def _backward(file: BundleFile, before_seq: int) -> Iterator[EventRecord]:
    """Block by block from the end; a block is read forward, as its lines stand."""
    while before_seq > 1:
        first = file.block_start(before_seq - 1)
        block: list[EventRecord] = []
        for seq, event in file.events(first):
            if seq == before_seq:
                break
            block.append(file.record(seq, event))
        yield from reversed(block)
        before_seq = first


def _matches(event: EventRecord, filter: EventFilter) -> bool:
    return (
        (filter.event_types is None or event.event_type in filter.event_types)
        and (filter.step_keys is None or event.step_key in filter.step_keys)
        and (filter.min_level is None or event.level >= filter.min_level)
    )
