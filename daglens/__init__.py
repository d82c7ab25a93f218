"""daglens: the history of data pipelines over a typed GraphQL API with live subscriptions.

    import daglens

    with daglens.start_run("nightly") as run:
        with run.step("extract") as step:
            step.materialize("orders", metadata={"rows": 5})

Names are loaded when they are first used: `import daglens` alone loads no server, no GraphQL and no database library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from daglens.config.secrets import Secret
    from daglens.instance import Instance, InstanceOrigin
    from daglens.recorder import (
        Json,
        Markdown,
        Path,
        RetryRequested,
        Run,
        RunTerminated,
        Step,
        StepEvents,
        StepProcessDied,
        StepProcessError,
        Text,
        TypeCheck,
        Url,
        attach_run,
        current_run,
        current_step,
        start_run,
    )
    from daglens.storage.errors import DaglensError

__all__ = [
    "DaglensError",
    "Instance",
    "InstanceOrigin",
    "Json",
    "Markdown",
    "Path",
    "RetryRequested",
    "Run",
    "RunTerminated",
    "Secret",
    "Step",
    "StepEvents",
    "StepProcessDied",
    "StepProcessError",
    "Text",
    "TypeCheck",
    "Url",
    "__version__",
    "attach_run",
    "current_run",
    "current_step",
    "start_run",
]

_HOMES = {
    "DaglensError": "daglens.storage.errors",
    "Instance": "daglens.instance",
    "InstanceOrigin": "daglens.instance",
    "Secret": "daglens.config.secrets",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'daglens' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "daglens.recorder")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
