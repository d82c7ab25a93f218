"""Many events of one run, column by column: what a database gives most cheaply, and what lists are written from.

A page of 1000 events as 1000 records is 1000 tuples, made only to be taken apart again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, overload

from daglens.storage.records import EventRecord

Column = Sequence[Any]

_event_of: Callable[[Sequence[Any]], EventRecord] = partial(tuple.__new__, EventRecord)
"""As `EventRecord._make`, with no call of Python each."""


class EventColumns(Sequence[EventRecord]):
    """A sequence of events whose columns can be had, too. Equal to any sequence of the same events.

    Attributes:
        columns: A sequence for each field of EventRecord, in its order, all of one length.
    """

    __slots__ = ("columns",)

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns

    @classmethod
    def of(cls, events: Sequence[EventRecord]) -> EventColumns:
        """The same events."""
        if isinstance(events, EventColumns):
            return events
        return cls(list(zip(*events, strict=True))) if events else NO_EVENTS

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, place: int) -> EventRecord: ...
    @overload
    def __getitem__(self, place: slice) -> EventColumns: ...
    def __getitem__(self, place: int | slice) -> EventRecord | EventColumns:
        found = [column[place] for column in self.columns]
        return EventColumns(found) if isinstance(place, slice) else _event_of(found)

    def __iter__(self) -> Iterator[EventRecord]:
        return map(_event_of, zip(*self.columns, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"EventColumns.of({list(self)!r})"

    def in_order(self, *, newest_first: bool) -> EventColumns:
        """The same events by seq."""
        seqs = self.columns[_SEQ]
        ordered = sorted(seqs)
        columns = self.columns
        if ordered != list(seqs):
            columns = picked(columns, sorted(range(len(seqs)), key=seqs.__getitem__))
        return EventColumns([column[::-1] for column in columns] if newest_first else columns)


_SEQ = EventRecord._fields.index("seq")

NO_EVENTS = EventColumns([()] * len(EventRecord._fields))


def picked(columns: Sequence[Column], places: Sequence[int]) -> list[Column]:
    """What stands at some places (at least one) of each column."""
    if len(places) == 1:
        place = places[0]
        return [(column[place],) for column in columns]
    pick = itemgetter(*places)
    return [pick(column) for column in columns]
