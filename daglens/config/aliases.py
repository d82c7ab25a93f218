"""Dagster's own class names, and what answers for them here: files that people have already work unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ours:
    """The class of daglens that answers.

    Attributes:
        ignored_keys: Keys of Dagster's class that mean nothing here; they are left out, and that is said.
    """

    module: str
    class_name: str
    ignored_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is no storage for it in this version; the sentence says what to use."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Unified:
    """A class that keeps runs and events together; `key` is its name in the `storage:` section."""

    key: str


MEMORY: Final = "daglens.storage.memory"
SQLITE: Final = "daglens.storage.sqlite"
POSTGRES: Final = "daglens.storage.postgres"
COMPUTE_LOGS: Final = "daglens.storage.compute_logs"
ARTIFACTS: Final = "daglens.storage.artifacts"

NO_MYSQL: Final = NotYet(
    f"daglens has no MySQL storage; leave the section out to use SQLite in the instance's folder, or name {SQLITE} "
    "with a base_dir"
)


def _no_object_store(store: str) -> NotYet:
    return NotYet(
        f"this version of daglens can't keep compute logs in {store} yet; leave the section out to keep them in the "
        f"instance's folder, or name {COMPUTE_LOGS} / LocalComputeLogManager with a base_dir on a shared disk"
    )


# By the first part of the module and the class: between Dagster's versions classes moved (dagster.core.storage.runs,
# dagster._core.storage.runs.sqlite …), and all those names stand in files.
ALIASES: Final[Mapping[tuple[str, str], Ours | NotYet | Unified]] = {
    ("dagster", "InMemoryRunStorage"): Ours(MEMORY, "InMemoryRunStorage"),
    ("dagster", "InMemoryEventLogStorage"): Ours(MEMORY, "InMemoryEventLogStorage"),
    ("dagster", "SqliteRunStorage"): Ours(SQLITE, "SqliteRunStorage"),
    ("dagster", "SqliteEventLogStorage"): Ours(SQLITE, "SqliteEventLogStorage"),
    ("dagster", "ConsolidatedSqliteEventLogStorage"): Ours(SQLITE, "SqliteEventLogStorage"),
    ("dagster", "DagsterSqliteStorage"): Unified("sqlite"),
    ("dagster", "LocalComputeLogManager"): Ours(COMPUTE_LOGS, "LocalComputeLogManager", frozenset({"polling_timeout"})),
    ("dagster", "NoOpComputeLogManager"): Ours(COMPUTE_LOGS, "NoOpComputeLogManager"),
    ("dagster", "LocalArtifactStorage"): Ours(ARTIFACTS, "LocalArtifactStorage"),
    ("dagster_postgres", "PostgresRunStorage"): Ours(POSTGRES, "PostgresRunStorage"),
    ("dagster_postgres", "PostgresEventLogStorage"): Ours(POSTGRES, "PostgresEventLogStorage"),
    ("dagster_postgres", "DagsterPostgresStorage"): Unified("postgres"),
    ("dagster_mysql", "MySQLRunStorage"): NO_MYSQL,
    ("dagster_mysql", "MySQLEventLogStorage"): NO_MYSQL,
    ("dagster_mysql", "DagsterMySQLStorage"): Unified("mysql"),
    ("dagster_aws", "S3ComputeLogManager"): _no_object_store("S3"),
    ("dagster_gcp", "GCSComputeLogManager"): _no_object_store("Google Cloud Storage"),
    ("dagster_azure", "AzureBlobComputeLogManager"): _no_object_store("Azure Blob Storage"),
}

UNIFIED: Final[Mapping[str, tuple[str, str, str]]] = {
    "sqlite": (SQLITE, "SqliteRunStorage", "SqliteEventLogStorage"),
    "postgres": (POSTGRES, "PostgresRunStorage", "PostgresEventLogStorage"),
}
"""What Dagster's `storage:` section may hold: the module, its run storage and its event log storage."""

DAGSTER_PACKAGES: Final = frozenset(package for package, _ in ALIASES)

ORCHESTRATOR_SECTIONS: Final = frozenset(
    {
        "agent_queues",
        "asset_daemon",
        "auto_materialize",
        "backfills",
        "code_servers",
        "concurrency",
        "dagster_cloud_api",
        "defs_state_storage",
        "freshness",
        "instance",
        "instance_class",
        "isolated_agents",
        "nux",
        "python_logs",
        "retention",
        "run_coordinator",
        "run_launcher",
        "run_monitoring",
        "run_queue",
        "run_retries",
        "schedule_storage",
        "scheduler",
        "schedules",
        "secrets",
        "sensors",
        "telemetry",
        "ui",
        "user_code_launcher",
    }
)
"""Sections of Dagster's own that mean nothing to a server of run history."""


def of_dagster(module: str) -> str | None:
    """The package of Dagster's that a module belongs to, None for anybody else's."""
    package = module.partition(".")[0]
    return package if package in DAGSTER_PACKAGES else None
