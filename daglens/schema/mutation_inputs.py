"""What is handed in with mutations."""

from collections.abc import Collection, Iterator, Sequence

import strawberry

from daglens.resolvers.event_input import GivenEvent
from daglens.schema.arguments import given
from daglens.schema.enums import ComputeIO, ComputeLogEncoding, LogLevel, RunStatus
from daglens.schema.scalars import JSON, BigInt, DateTime


@strawberry.input(description="A label on a run.")
class TagInput:
    key: str = strawberry.field(description="1 to 255 characters.")
    value: str = strawberry.field(description="Any text.")


@strawberry.input(description="A run to add.")
class CreateRunInput:
    run_id: strawberry.ID | None = strawberry.field(default=strawberry.UNSET, description="A UUID is made when absent.")
    pipeline_name: str = strawberry.field(description="What runs; 1 to 255 characters.")
    status: RunStatus = strawberry.field(
        default=RunStatus.NOT_STARTED, description="NOT_STARTED or QUEUED, else InvalidInputError."
    )
    tags: list[TagInput] = strawberry.field(default_factory=list, description="At most 200, each key once.")
    run_config: JSON | None = strawberry.field(default=strawberry.UNSET, description="What the run is configured with.")
    step_keys_to_execute: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Only these steps; null when the whole pipeline runs."
    )
    parent_run_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The run this one is made from."
    )
    root_run_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The first run of that chain."
    )
    created_at: DateTime | None = strawberry.field(
        default=strawberry.UNSET,
        description="The storage's time when absent; given by spooled and imported runs.",
    )


@strawberry.input(description="An event to store.")
class EventInput:
    event_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Given by the writer, unique in the run; makes a retry safe."
    )
    event_type: str = strawberry.field(description="Upper-case name of the type, e.g. STEP_START.")
    step_key: str | None = strawberry.field(default=strawberry.UNSET, description="The step it speaks of.")
    level: LogLevel = strawberry.field(default=LogLevel.INFO, description="How serious it is.")
    message: str = strawberry.field(default="", description="A text for people.")
    timestamp: DateTime | None = strawberry.field(
        default=strawberry.UNSET, description="The server's time when absent."
    )
    data: JSON | None = strawberry.field(
        default=strawberry.UNSET,
        description="The fields of the event type beyond those of Event, in their GraphQL names; unknown keys are "
        "kept. A metadata entry is\n{label, description?, KIND: value} with exactly one of text, url, path, json, "
        "markdown, float, int (number or decimal string), bool.\nAn error is {className?, message, stack?, cause?}. "
        "Absent lists are empty; an absent attempt is the step's present one, an absent\npipelineName the run's. What "
        "the type promises and can't be filled in is InvalidInputError, as is a STEP_… event without stepKey.",
    )

    def to_given(self) -> GivenEvent:
        """The event as the resolvers take it; not checked yet (`resolvers.event_input`)."""
        return GivenEvent(
            event_type=self.event_type,
            step_key=given(self.step_key),
            level=self.level,
            message=self.message,
            timestamp_us=given(self.timestamp),
            event_id=given(self.event_id),
            data=given(self.data),
        )


class GivenEvents(Collection[GivenEvent]):
    """Events as the resolvers take them, each made when it is asked for: of thousands, in a thread."""

    def __init__(self, events: Sequence[EventInput]) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[GivenEvent]:
        return (event.to_given() for event in self._events)

    def __contains__(self, event: object) -> bool:
        return event in list(self)


@strawberry.input(description="Bytes for a step's stdout or stderr.")
class AppendComputeLogInput:
    run_id: strawberry.ID = strawberry.field(description="The run.")
    step_key: str = strawberry.field(description="The step.")
    io_type: ComputeIO = strawberry.field(description="Which stream.")
    attempt: int = strawberry.field(default=1, description="Number of the attempt, from 1.")
    offset: BigInt = strawberry.field(description="Where the writer believes its data begins, in decoded bytes.")
    data: str = strawberry.field(description="The bytes, as `encoding` says.")
    encoding: ComputeLogEncoding = strawberry.field(
        default=ComputeLogEncoding.UTF8, description="BASE64 for bytes that may be no UTF-8."
    )
    complete: bool = strawberry.field(default=False, description="Close the stream behind this data.")
