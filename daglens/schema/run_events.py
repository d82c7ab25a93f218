"""Events of a whole run."""

import strawberry

from daglens.schema.event import Event
from daglens.schema.metadata import ErrorInfo, MetadataEntry


@strawberry.type(description="The run waits in a queue. Status QUEUED.")
class RunEnqueuedEvent(Event):
    pass


@strawberry.type(description="The run's processes are being started. Status STARTING.")
class RunStartingEvent(Event):
    pass


@strawberry.type(description="The run has begun. Status STARTED.")
class RunStartEvent(Event):
    pipeline_name: str = strawberry.field(description="The pipeline that runs.")
    process_id: int | None = strawberry.field(description="Process id of the recorder.")
    hostname: str | None = strawberry.field(description="The machine of the recorder.")


@strawberry.type(description="The run ended well. Status SUCCESS.")
class RunSuccessEvent(Event):
    pass


@strawberry.type(description="The run failed. Status FAILURE.")
class RunFailureEvent(Event):
    error: ErrorInfo | None = strawberry.field(description="What ended the run.")
    presumed: bool = strawberry.field(description="True when nobody reported the failure: the recorder fell silent.")


@strawberry.type(description="Somebody asked the run to stop. Status CANCELING.")
class RunCancelingEvent(Event):
    pass


@strawberry.type(description="The run was stopped. Status CANCELED.")
class RunCanceledEvent(Event):
    pass


@strawberry.type(description="Something that daglens or the orchestrator did; says nothing of the pipeline itself.")
class EngineEvent(Event):
    metadata_entries: list[MetadataEntry] = strawberry.field(description="Values attached to it.")
    error: ErrorInfo | None = strawberry.field(description="What went wrong, if something did.")


@strawberry.type(description="A line that the pipeline logged.")
class LogMessageEvent(Event):
    logger: str | None = strawberry.field(description="Name of the logger.")
