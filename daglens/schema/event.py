"""What all events have, the event that nobody knows, filters and pages."""

from collections.abc import Sequence
from typing import Annotated, Union

import strawberry

from daglens.schema.enums import LogLevel
from daglens.schema.errors import InvalidCursorError, InvalidFilterError, RunNotFoundError
from daglens.schema.scalars import JSON, Cursor, DateTime
from daglens.storage import records


@strawberry.interface(
    description="One fact of a run. Each event type below implements it; a type that this server doesn't know reads as "
    "UnknownEvent."
)
class Event:
    run_id: strawberry.ID = strawberry.field(description="The run it belongs to.")
    seq: int = strawberry.field(
        description="Position in the run: 1, 2, 3, … with no gaps, whoever wrote it. Without a filter a client can "
        "check seq == last + 1. A run holds at most 2,147,483,647 events (RUN_FULL)."
    )
    cursor: Cursor = strawberry.field(description="Hand it back as `after` to go on behind this event.")
    timestamp: DateTime = strawberry.field(description="When it happened, by the writer's clock.")
    level: LogLevel = strawberry.field(description="How serious it is.")
    message: str = strawberry.field(description="A text for people; may be empty.")
    event_type: str = strawberry.field(description="Upper-case name of the type, e.g. STEP_START.")
    step_key: str | None = strawberry.field(description="The step it speaks of; null for events of the whole run.")


@strawberry.type(
    description="An event whose type this server does not know, or whose data lacks what its type promises, kept whole."
)
class UnknownEvent(Event):
    data: JSON | None = strawberry.field(description="Everything that the writer gave beyond the fields of Event.")


@strawberry.input(description="All parts must hold; lists mean any of, an empty list matches nothing.")
class EventFilter:
    event_types: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Upper-case names, e.g. STEP_FAILURE; unknown ones match nothing."
    )
    step_keys: list[str] | None = strawberry.field(default=strawberry.UNSET, description="Events of these steps.")
    min_level: LogLevel | None = strawberry.field(
        default=strawberry.UNSET, description="Events of this level and above."
    )

    def to_record(self) -> records.EventFilter:
        """The filter as storages take it."""
        return records.EventFilter(
            event_types=_tuple(self.event_types),
            step_keys=_tuple(self.step_keys),
            min_level=int(self.min_level) if self.min_level else None,
        )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None or values is strawberry.UNSET else tuple(values)


@strawberry.type(
    description="An event's cursor is a place in its run: valid with any filter, order, field and transport, on any "
    "server, across restarts and upgrades."
)
class EventPage:
    nodes: list[Event] = strawberry.field(description="The events, in the order asked for.")
    cursor: Cursor = strawberry.field(
        description="Position after the last event examined, those the filter left out included; the log's beginning "
        "when there was none. May advance, with `hasMore` true, on an empty page."
    )
    through_seq: int = strawberry.field(description="Every event up to here (from here, NEWEST_FIRST) was examined.")
    has_more: bool = strawberry.field(description="There is more beyond this page, in the direction of the order.")


EventsOrError = Annotated[
    Union[EventPage, RunNotFoundError, InvalidCursorError, InvalidFilterError],
    strawberry.union("EventsOrError", description="A page of events, or why there is none."),
]
