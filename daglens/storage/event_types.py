"""Names of the event types that daglens knows. Any other name is stored whole and reads as UnknownEvent."""

from __future__ import annotations

from typing import Final

from daglens.storage.records import RunStatus

RUN_ENQUEUED: Final = "RUN_ENQUEUED"
RUN_STARTING: Final = "RUN_STARTING"
RUN_START: Final = "RUN_START"
RUN_SUCCESS: Final = "RUN_SUCCESS"
RUN_FAILURE: Final = "RUN_FAILURE"
RUN_CANCELING: Final = "RUN_CANCELING"
RUN_CANCELED: Final = "RUN_CANCELED"
ENGINE_EVENT: Final = "ENGINE_EVENT"
LOG_MESSAGE: Final = "LOG_MESSAGE"
STEP_START: Final = "STEP_START"
STEP_INPUT: Final = "STEP_INPUT"
STEP_OUTPUT: Final = "STEP_OUTPUT"
STEP_SUCCESS: Final = "STEP_SUCCESS"
STEP_FAILURE: Final = "STEP_FAILURE"
STEP_SKIPPED: Final = "STEP_SKIPPED"
STEP_UP_FOR_RETRY: Final = "STEP_UP_FOR_RETRY"
STEP_RESTARTED: Final = "STEP_RESTARTED"
STEP_MATERIALIZATION: Final = "STEP_MATERIALIZATION"
STEP_EXPECTATION_RESULT: Final = "STEP_EXPECTATION_RESULT"
OBJECT_STORE_OPERATION: Final = "OBJECT_STORE_OPERATION"
LOGS_CAPTURED: Final = "LOGS_CAPTURED"

# What a run-level event makes of its run (contract, table at its head).
STATUS_BY_EVENT_TYPE: Final[dict[str, RunStatus]] = {
    RUN_ENQUEUED: RunStatus.QUEUED,
    RUN_STARTING: RunStatus.STARTING,
    RUN_START: RunStatus.STARTED,
    RUN_SUCCESS: RunStatus.SUCCESS,
    RUN_FAILURE: RunStatus.FAILURE,
    RUN_CANCELING: RunStatus.CANCELING,
    RUN_CANCELED: RunStatus.CANCELED,
}

STEP_EVENT_TYPES: Final = frozenset(
    {
        STEP_START,
        STEP_INPUT,
        STEP_OUTPUT,
        STEP_SUCCESS,
        STEP_FAILURE,
        STEP_SKIPPED,
        STEP_UP_FOR_RETRY,
        STEP_RESTARTED,
        STEP_MATERIALIZATION,
        STEP_EXPECTATION_RESULT,
    }
)

KNOWN_EVENT_TYPES: Final = (
    frozenset(STATUS_BY_EVENT_TYPE)
    | STEP_EVENT_TYPES
    | {ENGINE_EVENT, LOG_MESSAGE, OBJECT_STORE_OPERATION, LOGS_CAPTURED}
)
