"""Writing to an instance: runs, their steps, and what they print.

    with daglens.start_run("nightly") as run:
        with run.step("extract") as step:
            step.materialize("orders", metadata={"rows": 5})

Recording never fails the pipeline: what goes wrong with it is said once, on stderr.
"""

from typing import TYPE_CHECKING

from daglens.recorder.endings import StepProcessDied, StepProcessError
from daglens.recorder.interrupt import RunTerminated
from daglens.recorder.retries import RetryRequested
from daglens.recorder.run import Run, current_run
from daglens.recorder.start import attach_run, start_run
from daglens.recorder.step import Step
from daglens.recorder.step_events import StepEvents, TypeCheck, current_step

if TYPE_CHECKING:
    from daglens.recorder.metadata import Json, Markdown, Path, Text, Url

__all__ = [
    "Json",
    "Markdown",
    "Path",
    "RetryRequested",
    "Run",
    "RunTerminated",
    "Step",
    "StepEvents",
    "StepProcessDied",
    "StepProcessError",
    "Text",
    "TypeCheck",
    "Url",
    "attach_run",
    "current_run",
    "current_step",
    "start_run",
]


def __getattr__(name: str) -> object:
    # Loaded when they are used: `daglens record` has no use for them.
    if name not in ("Json", "Markdown", "Path", "Text", "Url"):
        raise AttributeError(f"module 'daglens.recorder' has no attribute {name!r}")
    from daglens.recorder import metadata

    return getattr(metadata, name)
