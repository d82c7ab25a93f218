"""The sections of an instance without a dagster.yaml, and of one whose file leaves them out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from daglens.config.loaded import SECTION_NAMES, Section
from daglens.config.redaction import Redactor, shown

MEMORY: Final = "daglens.storage.memory"
SQLITE: Final = "daglens.storage.sqlite"
COMPUTE_LOGS: Final = "daglens.storage.compute_logs"
ARTIFACTS: Final = "daglens.storage.artifacts"

_LOCAL: Final = {
    "run_storage": (SQLITE, "SqliteRunStorage"),
    "event_log_storage": (SQLITE, "SqliteEventLogStorage"),
    "compute_logs": (COMPUTE_LOGS, "LocalComputeLogManager"),
    "local_artifact_storage": (ARTIFACTS, "LocalArtifactStorage"),
}
_EPHEMERAL: Final = _LOCAL | {
    "run_storage": (MEMORY, "InMemoryRunStorage"),
    "event_log_storage": (MEMORY, "InMemoryEventLogStorage"),
}


def default_sections(home: Path, *, ephemeral: bool = False) -> dict[str, Section]:
    """The four sections of an instance without a dagster.yaml: SQLite and files in `home`.

    With `ephemeral`, runs and events are kept in memory, and only logs and artifacts in `home`.
    """
    return {name: default_section(name, home, ephemeral=ephemeral) for name in SECTION_NAMES}


def default_section(name: str, home: Path, *, ephemeral: bool = False) -> Section:
    """One of them."""
    module, class_name = (_EPHEMERAL if ephemeral else _LOCAL)[name]
    storage_class = getattr(importlib.import_module(module), class_name)
    config = storage_class.Config()
    return Section(
        name,
        module,
        class_name,
        shown(config),
        lambda: storage_class.from_config(config, home),
        Redactor(),
        _place=(name,),
    )
