"""Event log storages with one mistake each, in appending and reading."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from daglens.storage.memory import InMemoryEventLogStorage
from daglens.storage.records import (
    Appended,
    EventDraft,
    EventFilter,
    EventQuery,
    EventSlice,
    EventsOrder,
)
from daglens.testing.broken.pause import others_run

# ---------------------------------------------------------------- appending


class ReversesABatch(InMemoryEventLogStorage):
    """A burst is stored from its end."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        return super().append(run_id, drafts[::-1], heard=heard)


class StoresPartOfARefusedBatch(InMemoryEventLogStorage):
    """Events are stored one by one, so those before a refused one stay."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        answers = [super(StoresPartOfARefusedBatch, self).append(run_id, [d], heard=heard) for d in drafts]
        answers = answers or [super().append(run_id, [], heard=heard)]
        given = [answer.first_seq for answer in answers if answer.first_seq is not None]
        return Appended(
            accepted=len(given),
            duplicates=sum(answer.duplicates for answer in answers),
            first_seq=given[0] if given else None,
            last_seq=given[-1] if given else None,
            head=answers[-1].head,
        )


class CutsSilently(InMemoryEventLogStorage):
    """A long message loses its end without a word."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        return super().append(run_id, [replace(d, message=d.message[:1000]) for d in drafts], heard=heard)


class KeepsTimesAsFloats(InMemoryEventLogStorage):
    """Times lose their last digits where a float ends."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        rounded = [d if d.timestamp_us is None else replace(d, timestamp_us=int(float(d.timestamp_us))) for d in drafts]
        return super().append(run_id, rounded, heard=heard)


class HearsEverything(InMemoryEventLogStorage):
    """An event that a server appends counts as a sign of life of the recorder."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        return super().append(run_id, drafts)


class OneIncarnation(InMemoryEventLogStorage):
    """All logs have the same incarnation, so a cursor of a deleted log passes for one of the new."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        answer = super().append(run_id, drafts, heard=heard)
        return answer._replace(head=replace(answer.head, incarnation="0" * 16))


# ---------------------------------------------------------------- duplicates


class AcceptsDuplicates(InMemoryEventLogStorage):
    """Event ids are not compared with what is stored."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        with self._lock:
            if run_id in self._logs:
                self._logs[run_id].event_ids.clear()
        return super().append(run_id, drafts, heard=heard)


class AcceptsDuplicatesInABatch(InMemoryEventLogStorage):
    """Event ids are compared with what is stored, and not within the batch."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        seen: set[str | None] = set()
        changed = []
        for draft in drafts:
            again = draft.event_id is not None and draft.event_id in seen
            changed.append(replace(draft, event_id=f"{draft.event_id} again") if again else draft)
            seen.add(draft.event_id)
        return super().append(run_id, changed, heard=heard)


class LooksForDuplicatesTooEarly(InMemoryEventLogStorage):
    """Event ids are compared before the lock is taken: a first try that isn't committed yet is overlooked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._known: defaultdict[str, set[str]] = defaultdict(set)

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        known = set(self._known[run_id])
        others_run()
        new = [draft for draft in drafts if draft.event_id is None or draft.event_id not in known]
        answer = super().append(run_id, [replace(draft, event_id=None) for draft in new], heard=heard)
        self._known[run_id] |= {draft.event_id for draft in drafts if draft.event_id is not None}
        return answer._replace(duplicates=len(drafts) - len(new))


class DuplicatesTakeSeqs(InMemoryEventLogStorage):
    """A seq is drawn for a duplicate, too, and leaves a gap."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        known = self._logs[run_id].event_ids if run_id in self._logs else set()
        gap = [EventDraft("GAP") for draft in drafts if draft.event_id in known]
        super().append(run_id, gap, heard=heard)
        return super().append(run_id, drafts, heard=heard)

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        pages = super().read(queries)
        return [page._replace(events=[e for e in page.events if e.event_type != "GAP"]) for page in pages]


class EventIdsOfAllRuns(InMemoryEventLogStorage):
    """An event id that any run has is a duplicate."""

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        others = {i for log in self._logs.values() if log.head.run_id != run_id for i in log.event_ids}
        new = [draft for draft in drafts if draft.event_id not in others]
        answer = super().append(run_id, new, heard=heard)
        return answer._replace(duplicates=answer.duplicates + len(drafts) - len(new))


# ---------------------------------------------------------------- reading


class SkipsEventAtPageBorder(InMemoryEventLogStorage):
    """The event right after the cursor is taken for the one that was read last."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        return super().read(
            [
                replace(q, after_seq=q.after_seq + 1) if q.after_seq and q.order is EventsOrder.OLDEST_FIRST else q
                for q in queries
            ]
        )


class BackwardReadsForward(InMemoryEventLogStorage):
    """The right events, in the wrong order."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        return [page._replace(events=sorted(page.events)) for page in super().read(queries)]


class AnswersInOtherOrder(InMemoryEventLogStorage):
    """Answers come in order of run, not of the queries."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        return super().read(sorted(queries, key=lambda query: query.run_id))


class VisibleOutOfOrder(InMemoryEventLogStorage):
    """A shared serial id: an event is visible when its transaction ends, and others with higher ids were before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._commits = threading.Lock()
        self._uncommitted: set[int] = set()
        self._count = 0

    def append(self, run_id: str, drafts: Sequence[EventDraft], *, heard: bool = True) -> Appended:
        with self._commits:
            answer = super().append(run_id, drafts, heard=heard)
            own = range(answer.first_seq or 0, (answer.last_seq or -1) + 1)
            self._uncommitted.update(own)
            self._count += 1
            slow = self._count % 5 == 0
        if slow:
            others_run()
        with self._commits:
            self._uncommitted.difference_update(own)
        return answer

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        with self._commits:
            return [
                page._replace(events=[event for event in page.events if event.seq not in self._uncommitted])
                for page in super().read(queries)
            ]


class HeadOfAnotherMoment(InMemoryEventLogStorage):
    """Events are read first and the head after them."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        pages = super().read(queries)
        others_run()
        heads = self.heads([query.run_id for query in queries])
        return [page._replace(head=heads.get(q.run_id)) for q, page in zip(queries, pages, strict=True)]


# ---------------------------------------------------------------- filters


class EmptyListIsNoCondition(InMemoryEventLogStorage):
    """An empty list matches every event."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        def misread(filter: EventFilter | None) -> EventFilter | None:
            if filter is None:
                return None
            return replace(filter, event_types=filter.event_types or None, step_keys=filter.step_keys or None)

        return super().read([replace(query, filter=misread(query.filter)) for query in queries])


class LimitsBeforeItFilters(InMemoryEventLogStorage):
    """The limit counts what is examined; an empty page then passes for the end."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        pages = []
        plain = super().read([replace(query, filter=None) for query in queries])
        for query, page, whole in zip(queries, plain, super().read(queries), strict=True):
            if query.filter is None:
                pages.append(page)
                continue
            matching = [event for event in page.events if event in whole.events]
            pages.append(page._replace(events=matching, has_more=page.has_more and bool(matching)))
        return pages


class FilteredPlaceStands(InMemoryEventLogStorage):
    """The place of a filtered read is its last match, so a reader never gets over what is left out."""

    def read(self, queries: Sequence[EventQuery]) -> Sequence[EventSlice]:
        pages = []
        for query, page in zip(queries, super().read(queries), strict=True):
            if query.filter is not None:
                place = page.events[-1].seq if page.events else query.after_seq or 0
                page = page._replace(through_seq=place, has_more=page.head is not None and place < page.head.last_seq)
            pages.append(page)
        return pages
