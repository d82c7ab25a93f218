"""Events of a step."""

import strawberry

from daglens.schema.enums import ObjectStoreOperationType
from daglens.schema.event import Event
from daglens.schema.metadata import ErrorInfo, MetadataEntry, TypeCheck


@strawberry.type(description="The step has begun.")
class ExecutionStepStartEvent(Event):
    attempt: int = strawberry.field(description="Number of the attempt, from 1.")


@strawberry.type(description="The step took an input.")
class ExecutionStepInputEvent(Event):
    input_name: str = strawberry.field(description="Name of the input.")
    type_check: TypeCheck | None = strawberry.field(description="Whether it had the declared type.")


@strawberry.type(description="The step gave an output.")
class ExecutionStepOutputEvent(Event):
    output_name: str = strawberry.field(description="Name of the output.")
    type_check: TypeCheck | None = strawberry.field(description="Whether it had the declared type.")
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values attached to it.")


@strawberry.type(description="The step ended well.")
class ExecutionStepSuccessEvent(Event):
    duration_seconds: float | None = strawberry.field(description="How long it took, as the recorder measured it.")


@strawberry.type(description="The step failed and is not tried again.")
class ExecutionStepFailureEvent(Event):
    error: ErrorInfo | None = strawberry.field(description="What ended the step.")
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values attached to it.")


@strawberry.type(description="The step was left out.")
class ExecutionStepSkippedEvent(Event):
    pass


@strawberry.type(description="The step failed and will be tried again.")
class ExecutionStepUpForRetryEvent(Event):
    error: ErrorInfo | None = strawberry.field(description="What ended the attempt.")
    seconds_to_wait: float | None = strawberry.field(description="How long the recorder waits before it tries again.")


@strawberry.type(description="The step has begun anew after a failure.")
class ExecutionStepRestartEvent(Event):
    attempt: int = strawberry.field(description="Number of the attempt, from 1.")


@strawberry.type(description="The step made something that stays: a table, a file, a model.")
class MaterializationEvent(Event):
    label: str = strawberry.field(description="What was made.")
    description: str | None = strawberry.field(description="A sentence about it.")
    asset_key: list[str] | None = strawberry.field(description="Its name in a catalogue, part by part.")
    partition: str | None = strawberry.field(description="Which part of it was made, e.g. a day.")
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values attached to it, e.g. a count of rows.")


@strawberry.type(description="The step checked something about its data.")
class ExpectationResultEvent(Event):
    success: bool = strawberry.field(description="True when the expectation was met.")
    label: str = strawberry.field(description="What was expected.")
    description: str | None = strawberry.field(description="What was found.")
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values attached to it.")


@strawberry.type(description="An object was written to, read from, copied in or removed from a store.")
class ObjectStoreOperationEvent(Event):
    op: ObjectStoreOperationType = strawberry.field(description="What was done.")
    address: str = strawberry.field(description="Where the object is.")
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values attached to it.")


@strawberry.type(description="Stdout and stderr of the step are being kept from here on: see Run.computeLog.")
class ComputeLogsCapturedEvent(Event):
    attempt: int = strawberry.field(description="Number of the attempt, from 1.")
    step_keys: list[str] = strawberry.field(
        description="The steps whose output this log holds: more than one where steps of one process shared it."
    )
