"""What viewers of a run are given: batches of events, cut within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from daglens.resolvers.live_history import size_of
from daglens.resolvers.live_settings import LiveSettings
from daglens.storage.records import EventFilter, EventRecord, RunStatus


@dataclass(frozen=True, slots=True)
class EventBatch:
    """A batch of a run's live events.

    Attributes:
        incarnation: Of the run's log, for cursors; None when there is no log yet.
        events: Those that pass the filter, in order of seq; may be empty.
        through_seq: Every event up to here was examined; the batch's cursor.
        caught_up: The batch reached the end of the log, as it was when it was read.
        run_status: When the batch was read.
    """

    incarnation: str | None
    events: Sequence[EventRecord]
    through_seq: int
    caught_up: bool
    run_status: RunStatus


@dataclass(frozen=True, slots=True)
class RunGone:
    """The run was deleted: the last message of its feed."""

    run_id: str


class Piece(NamedTuple):
    """Part of what a look gave: some events, and the seq that it ends at."""

    events: Sequence[EventRecord]
    through_seq: int


@dataclass(slots=True)
class Look:
    """What one look at a log gave.

    Attributes:
        after_seq: Behind which event it looked.
        filter: Which events it was after.
        events: Those that pass the filter.
        through_seq: Up to where it looked.
        at_end: That is the end of the log.
        batches: What it comes to for whoever was told of all before it; kept by the first who made them.
    """

    after_seq: int
    filter: EventFilter | None
    events: Sequence[EventRecord]
    through_seq: int
    at_end: bool
    batches: Sequence[EventBatch] | None = field(default=None)

    def pieces(self, start: int, settings: LiveSettings) -> list[Piece]:
        """Cut into batches within the bounds of bytes and of seqs, counted from `start`."""
        pieces: list[Piece] = []
        events: list[EventRecord] = []
        total_bytes = 0

        def cut(through: int) -> None:
            nonlocal events, start, total_bytes
            pieces.append(Piece(events, through))
            events, start, total_bytes = [], through, 0

        for event in self.events:
            while event.seq - start > settings.still_events:
                cut(start + settings.still_events)
            size = size_of(event)
            if events and total_bytes + size > settings.batch_bytes:
                cut(events[-1].seq)
            events.append(event)
            total_bytes += size
        while self.through_seq - start > settings.still_events:
            cut(start + settings.still_events)
        cut(self.through_seq)
        return pieces
