"""Enums: those of the storages' records, registered once under their names here, and those that only the API has."""

from enum import StrEnum

import strawberry

from daglens.instance_location import InstanceOrigin
from daglens.storage.records import ComputeIO, EventsOrder, LogLevel, LogUnavailableReason, RunStatus

__all__ = [
    "ComputeIO",
    "ComputeLogEncoding",
    "EventsOrder",
    "InstanceOrigin",
    "LogLevel",
    "LogUnavailableReason",
    "ObjectStoreOperationType",
    "RunStatus",
    "RunsOrder",
    "StepStatus",
]

strawberry.enum(
    RunStatus,
    description="Where a run stands. NOT_STARTED < QUEUED < STARTING < STARTED < CANCELING < SUCCESS, FAILURE, "
    "CANCELED; the last three are final.",
)
strawberry.enum(LogLevel, description="How serious an event is, from DEBUG up to CRITICAL.")
strawberry.enum(EventsOrder, description="Direction in which the events of a run are read.")
strawberry.enum(ComputeIO, name="ComputeIOType", description="Which of a step's two output streams.")
strawberry.enum(
    LogUnavailableReason,
    name="ComputeLogUnavailableReason",
    description="Why a compute log can't be read. NOT_CAPTURED: nobody kept one. NOT_SHARED: it was written on another "
    "machine, on a disk that this server doesn't see. NOT_UPLOADED_YET: its machine has not sent it yet. EXPIRED: it "
    "was there and was removed. FORBIDDEN: the storage refuses this server.",
)
strawberry.enum(
    InstanceOrigin,
    description="Which of the four rules chose an instance: a dagster.yaml in $DAGSTER_HOME; the folder $DAGSTER_HOME; "
    "a fallback folder; none, so that it is in memory and gone with the server.",
)


@strawberry.enum(description="Order of a run list, by `createdAt`.")
class RunsOrder(StrEnum):
    """Order of a run list, by createdAt."""

    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


@strawberry.enum(description="ABANDONED: the run ended before the step did; its endedAt is the run's.")
class StepStatus(StrEnum):
    """Where a step stands, the run's end included."""

    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    SKIPPED = "SKIPPED"
    UP_FOR_RETRY = "UP_FOR_RETRY"
    ABANDONED = "ABANDONED"


@strawberry.enum(description="What was done to an object: written, read, removed, copied.")
class ObjectStoreOperationType(StrEnum):
    """What was done to an object."""

    SET_OBJECT = "SET_OBJECT"
    GET_OBJECT = "GET_OBJECT"
    RM_OBJECT = "RM_OBJECT"
    CP_OBJECT = "CP_OBJECT"


@strawberry.enum(description="How a log's bytes stand in the text of `data`.")
class ComputeLogEncoding(StrEnum):
    """How a log's bytes stand in a text."""

    UTF8 = "UTF8"
    BASE64 = "BASE64"
