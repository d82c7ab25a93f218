"""Dagster's own class names, and what answers for them here: files that people have already work unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from daglens.config.defaults import ARTIFACTS, COMPUTE_LOGS, MEMORY, SQLITE


@dataclass(frozen=True, slots=True)
class Ours:
    """The class of daglens that answers.

    Attributes:
        ignored_keys: Keys of Dagster's class that mean nothing here; they are left out, and that is said.
        renamed_keys: Keys that are called otherwise here; empty, they stand for our default.
        given: Keys that Dagster's class has no need of, and their values.
    """

    module: str
    class_name: str
    ignored_keys: frozenset[str] = frozenset()
    renamed_keys: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)

    def config_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Dagster's configuration as our class takes it."""
        renamed = {
            self.renamed_keys.get(key, key): value
            for key, value in config.items()
            if key not in self.ignored_keys and not (key in self.renamed_keys and value is None)
        }
        return {**self.given, **renamed}


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is no storage for it in this version; the sentence says what to use."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Unified:
    """A class that keeps runs and events together; `key` is its name in the `storage:` section."""

    key: str


POSTGRES: Final = "daglens.storage.postgres"
OBJECT_STORE: Final = "daglens.storage.object_store"

NO_MYSQL: Final = NotYet(
    f"daglens has no MySQL storage; leave the section out to use SQLite in the instance's folder, or name {SQLITE} "
    "with a base_dir"
)


def _object_store(store: str, *ignored: str) -> Ours:
    return Ours(
        OBJECT_STORE,
        "ObjectStoreComputeLogManager",
        frozenset({"show_url_only", *ignored}),
        {"upload_interval": "upload_interval_s"},
        {"store": store},
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
    ("dagster_aws", "S3ComputeLogManager"): _object_store("s3", "skip_empty_files"),
    ("dagster_gcp", "GCSComputeLogManager"): _object_store("gcs"),
    # Without a key the credentials are those of the environment, as that one has it.
    ("dagster_azure", "AzureBlobComputeLogManager"): _object_store("azure", "default_azure_credential"),
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
