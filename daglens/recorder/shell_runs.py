"""Runs that a shell script begins and ends by commands of their own. Each may be repeated: its event has a fixed id."""

from __future__ import annotations

from typing import Any, Final, Literal

from daglens.recorder.destination import Destination
from daglens.recorder.drafts import draft
from daglens.storage import event_types as et
from daglens.storage.log_places import hostname
from daglens.storage.records import LogLevel, NewRun

START_EVENT_ID: Final = "daglens:run-start"
FINISH_EVENT_ID: Final = "daglens:run-finish"


def start_shell_run(destination: Destination, run: NewRun, timeout_s: int | None) -> None:
    """Create the run and start it.

    Args:
        timeout_s: Silence after which it is presumed dead; None: never. Nobody sends heartbeats between two commands,
            so by default there are none at all.

    Raises:
        DaglensError: The storage doesn't take it.
    """
    destination.create_run(run)
    machine = hostname()
    data = {"pipelineName": run.pipeline_name, "processId": None, "hostname": machine}
    destination.append(
        run.run_id,
        [draft(et.RUN_START, f"{run.pipeline_name} began on {machine}.", data, event_id=START_EVENT_ID)],
    )
    if timeout_s is not None:
        destination.heartbeat(run.run_id, timeout_s)


def finish_shell_run(
    destination: Destination,
    run_id: str,
    status: Literal["success", "failure", "canceled"],
    message: str | None,
) -> None:
    """End the run; a repeated end, also another one, changes nothing.

    Raises:
        RunNotFound: There is no such run.
        DaglensError: The storage doesn't take it.
    """
    name = destination.pipeline_name(run_id) or "The run"
    why = f": {message}" if message else "."
    if status == "success":
        event = draft(et.RUN_SUCCESS, f"{name} ended well.", event_id=FINISH_EVENT_ID)
    elif status == "canceled":
        text = f"{name} was canceled{why}"
        event = draft(et.RUN_CANCELED, text, level=LogLevel.WARNING, event_id=FINISH_EVENT_ID)
    else:
        error: dict[str, Any] | None = None
        if message:
            error = {"className": None, "message": message, "stack": [], "cause": None}
        event = draft(
            et.RUN_FAILURE,
            f"{name} failed{why}",
            {"presumed": False, "error": error},
            level=LogLevel.ERROR,
            event_id=FINISH_EVENT_ID,
        )
    destination.append(run_id, [event])
