"""What subscriptions deliver."""

from typing import Annotated, Union

import strawberry

from daglens.schema.enums import RunStatus
from daglens.schema.errors import InvalidCursorError, InvalidFilterError, RunNotFoundError
from daglens.schema.event import Event
from daglens.schema.run import Run
from daglens.schema.scalars import Cursor


@strawberry.type(
    description="A batch of the feed. `caughtUp`: this batch reached the present (it may turn false again). "
    "`runStatus`: when the batch was read."
)
class RunEventsBatch:
    events: list[Event] = strawberry.field(description="New events, in order of `seq`; may be empty.")
    cursor: Cursor = strawberry.field(description="Hand it back as `after` to go on behind this batch.")
    through_seq: int = strawberry.field(description="Every event up to here was examined.")
    caught_up: bool = strawberry.field(description="This batch reached the present.")
    run_status: RunStatus = strawberry.field(description="Where the run stood when the batch was read.")


@strawberry.type(description="The run was deleted while it was watched.")
class RunDeleted:
    run_id: strawberry.ID = strawberry.field(description="The run that was.")


@strawberry.type(description="A batch of changes of a run list.")
class RunsBatch:
    changed: list[Run] = strawberry.field(description="Runs that match and are new or have changed.")
    unmatched: list[strawberry.ID] = strawberry.field(
        description="Changed, and now outside the filter; may name runs never sent."
    )
    deleted: list[strawberry.ID] = strawberry.field(description="Deleted; may name runs never sent.")
    cursor: Cursor = strawberry.field(description="Hand it back as `after` to go on behind this batch.")
    caught_up: bool = strawberry.field(description="This batch reached the present.")


RunEventsMessage = Annotated[
    Union[RunEventsBatch, RunDeleted, RunNotFoundError, InvalidCursorError, InvalidFilterError],
    strawberry.union("RunEventsMessage", description="A batch of events, or why the feed ends."),
]
RunsMessage = Annotated[
    Union[RunsBatch, InvalidFilterError, InvalidCursorError],
    strawberry.union("RunsMessage", description="A batch of changes, or why the feed ends."),
]
