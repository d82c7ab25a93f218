"""Storages without any behaviour, for tests of what dagster.yaml makes of their names and configurations."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any, Literal

from daglens.config.load import load_config
from daglens.config.loaded import LoadedConfig
from daglens.config.plugins import CONTRACTS, contract_names
from daglens.config.problems import ConfigError
from daglens.config.secrets import Secret
from daglens.storage.errors import StorageUnavailable

MODULE = "stub_storages"


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """A Config inside of a Config."""

    password: Secret
    hostname: str = "localhost"
    port: int = 5432
    params: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """A Config with fields of many types."""

    token: Secret | None = None
    postgres_url: Secret | None = None
    database: Database | None = None
    replicas: tuple[Database, ...] = ()
    durability: Literal["full", "normal"] = "full"
    size: int = 1
    ratio: float = 1.0
    eager: bool = False
    base_dir: str | None = None
    hosts: list[str] = dataclasses.field(default_factory=list)
    fail_with: str | None = None

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError(f"13 is no size, not even with {self.token.reveal() if self.token else None}")


class Stub:
    """Made of a Config; remembers it, and whether it was closed."""

    Config: type[Any] = Config

    def __init__(self, config: Any, home: Path) -> None:
        self.config = config
        self.home = home
        self.closed = 0

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Any:
        """Make it, or raise what `fail_with` says."""
        secret = config.token.reveal() if config.token else ""
        if config.fail_with == "unavailable":
            raise StorageUnavailable(f"The database refused {secret}.")
        if config.fail_with:
            raise RuntimeError(f"{config.fail_with} {secret}")
        return cls(config, home)

    def close(self) -> None:
        """Count."""
        self.closed += 1


def storage_class(section: str, name: str, **members: Any) -> type[Any]:
    """A class that has every method of the section's contract."""
    methods = {method: _nothing for method in contract_names(CONTRACTS[section]) if not hasattr(Stub, method)}
    return type(name, (Stub,), {"__module__": MODULE, **methods, **members})


def _nothing(self: Any) -> None:
    raise AssertionError("no storage is asked anything while a configuration is loaded")


def stub_module() -> Any:
    """A module with one class for each section, and some that are no good."""
    module: Any = types.ModuleType(MODULE)
    module.Runs = storage_class("run_storage", "Runs")
    module.Events = storage_class("event_log_storage", "Events")
    module.Logs = storage_class("compute_logs", "Logs")
    module.Artifacts = storage_class("local_artifact_storage", "Artifacts")
    module.Plain = storage_class("run_storage", "Plain", Config=None)
    module.Unreadable = storage_class("run_storage", "Unreadable", Config=object())
    module.Half = storage_class("run_storage", "Half", heartbeat=None, page=None)
    module.Both = type(
        "Both", (Stub,), {"run_storage": module.Runs(None, Path()), "event_log_storage": module.Events(None, Path())}
    )
    module.Neither = type("Neither", (Stub,), {"run_storage": object(), "event_log_storage": object()})
    module.function = _nothing
    return module


STUBS = """\
run_storage: {module: stub_storages, class: Runs}
event_log_storage: {module: stub_storages, class: Events}
compute_logs: {module: stub_storages, class: Logs}
local_artifact_storage: {module: stub_storages, class: Artifacts}
"""


def load(folder: Path, text: str, **environ: str) -> LoadedConfig:
    """Write the text as a dagster.yaml and load it."""
    sys.modules.setdefault(MODULE, stub_module())
    path = folder / "dagster.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, folder, environ=environ)


def problems_of(folder: Path, text: str, **environ: str) -> list[str]:
    """The problems of the text, rendered."""
    try:
        load(folder, text, **environ)
    except ConfigError as refused:
        return [str(problem) for problem in refused.problems]
    return []
