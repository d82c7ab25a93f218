"""The dagster.yaml that people have already."""

from __future__ import annotations

import importlib

import pytest

from daglens.config.aliases import ALIASES, NotYet, Ours, Unified
from daglens.config.plugins import CONTRACTS, missing_methods
from tests.unit.config_stubs import load, problems_of

LOCAL = """\
local_artifact_storage:
  module: dagster.core.storage.root
  class: LocalArtifactStorage
  config: {{base_dir: {folder}/artifacts}}
compute_logs:
  module: dagster.core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {{base_dir: {folder}/logs, polling_timeout: 5}}
run_storage:
  module: dagster.core.storage.runs
  class: SqliteRunStorage
  config: {{base_dir: {folder}/history}}
event_log_storage:
  module: dagster._core.storage.event_log.sqlite.consolidated_sqlite_event_log
  class: ConsolidatedSqliteEventLogStorage
  config: {{base_dir: {folder}/history}}
schedule_storage:
  module: dagster.core.storage.schedules
  class: SqliteScheduleStorage
run_launcher:
  module: dagster.core.launcher
  class: DefaultRunLauncher
telemetry:
  enabled: false
"""


def classes(config) -> list[str]:
    return [f"{section.module}.{section.class_name}" for section in config.sections.values()]


def test_a_local_file_of_dagster_works_unchanged(tmp_path):
    """Each of Dagster's local classes is answered by ours; what has no meaning here is told in two lines."""
    config = load(tmp_path, LOCAL.format(folder=tmp_path))
    assert classes(config) == [
        "daglens.storage.sqlite.SqliteRunStorage",
        "daglens.storage.sqlite.SqliteEventLogStorage",
        "daglens.storage.compute_logs.LocalComputeLogManager",
        "daglens.storage.artifacts.LocalArtifactStorage",
    ]
    assert config.sections["run_storage"].config["base_dir"] == f"{tmp_path}/history"
    assert config.notes == (
        "dagster.yaml: ignored, as only an orchestrator needs them: schedule_storage, run_launcher, telemetry",
        "dagster.yaml: ignored, as they mean nothing here: compute_logs.config.polling_timeout",
    )


@pytest.mark.parametrize(
    "text",
    [
        "storage:\n  sqlite:\n    base_dir: {env: FOLDER}\n",
        "storage:\n  custom:\n    module: dagster._core.storage.sqlite_storage\n    class: DagsterSqliteStorage\n"
        "    config:\n      base_dir: {env: FOLDER}\n",
    ],
)
def test_storage_section_is_runs_and_events(text, tmp_path):
    """Dagster's unified section stands for both storages, in one folder."""
    config = load(tmp_path, text, FOLDER=str(tmp_path / "db"))
    assert classes(config)[:2] == [
        "daglens.storage.sqlite.SqliteRunStorage",
        "daglens.storage.sqlite.SqliteEventLogStorage",
    ]
    for name in ("run_storage", "event_log_storage"):
        assert config.sections[name].config["base_dir"] == str(tmp_path / "db")


def test_mistakes_in_the_storage_section_are_told_once(tmp_path):
    """Two storages share its configuration; a mistake in it is one problem, at its own place."""
    assert problems_of(tmp_path, "storage:\n  sqlite:\n    basedir: x\n") == [
        "dagster.yaml:3: storage.sqlite.basedir: unknown key, did you mean base_dir?"
    ]


DAGSTER_POSTGRES = """
run_storage:
  module: dagster_postgres.run_storage
  class: PostgresRunStorage
  config:
    postgres_url: "postgresql://me:planted@db:5432/x"
event_log_storage:
  module: dagster_postgres.event_log
  class: PostgresEventLogStorage
  config:
    postgres_url: "postgresql://me:planted@db:5432/x"
"""


@pytest.mark.parametrize(
    "text",
    [
        DAGSTER_POSTGRES,
        DAGSTER_POSTGRES.replace("dagster_postgres.run_storage", "dagster_postgres.run_storage.run_storage"),
        DAGSTER_POSTGRES.replace("dagster_postgres.event_log", "dagster_postgres"),
        "storage:\n  postgres:\n    postgres_url: {env: PG_URL}\n",
        "storage:\n  postgres:\n    postgres_db: {username: me, password: {env: PG_PASSWORD}, hostname: db, db_name: x,"
        " port: {env: PG_PORT}, params: {sslmode: prefer}, scheme: postgresql}\n    should_autocreate_tables: false\n",
        "storage:\n  custom:\n    module: dagster_postgres.storage\n    class: DagsterPostgresStorage\n"
        "    config:\n      postgres_url: {env: PG_URL}\n",
    ],
)
def test_postgres_is_answered_by_ours(text, tmp_path):
    """Dagster's classes and its unified section lead to one database of ours; nothing connects, no secret shows."""
    environ = {"PG_URL": "postgresql://me:planted@db:5432/x", "PG_PASSWORD": "planted", "PG_PORT": "5432"}
    config = load(tmp_path, text, **environ)
    assert classes(config)[:2] == [
        "daglens.storage.postgres.PostgresRunStorage",
        "daglens.storage.postgres.PostgresEventLogStorage",
    ]
    for name in ("run_storage", "event_log_storage"):
        assert "planted" not in str(config.sections[name].config)
    built = config.build()
    try:
        assert built["event_log_storage"].projects_into(built["run_storage"])
        assert repr(built["run_storage"].database.pool.address) == "PostgreSQL at db:5432, database x"
    finally:
        for storage in built.values():
            storage.close()


S3 = """
compute_logs:
  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config:
    bucket: logs
    local_dir: /tmp/spool
    prefix: /my-prefix/
    use_ssl: true
    verify: true
    verify_cert_path: /certs.pem
    endpoint_url: http://alternate-s3-host.io
    skip_empty_files: true
    upload_interval: 30
    upload_extra_args: {ServerSideEncryption: AES256}
    show_url_only: false
    region: us-west-1
"""
GCS = """
compute_logs:
  module: dagster_gcp.gcs.compute_log_manager
  class: GCSComputeLogManager
  config: {bucket: logs, json_credentials_envvar: GCS_KEY, upload_interval: null, show_url_only: true}
"""
AZURE = """
compute_logs:
  module: dagster_azure.blob.compute_log_manager
  class: AzureBlobComputeLogManager
  config:
    storage_account: account
    container: logs
    default_azure_credential: {exclude_environment_credential: false}
    secret_key: planted
    prefix: dagster-logs
"""


@pytest.mark.parametrize(
    ("text", "expected", "ignored"),
    [
        (
            S3,
            {"store": "s3", "bucket": "logs", "upload_interval_s": 30.0, "region": "us-west-1"},
            ["show_url_only", "skip_empty_files"],
        ),
        (
            GCS,
            {"store": "gcs", "bucket": "logs", "upload_interval_s": 5, "json_credentials_envvar": "***"},
            ["show_url_only"],
        ),
        (
            AZURE,
            {"store": "azure", "container": "logs", "storage_account": "account", "secret_key": "***"},
            ["default_azure_credential"],
        ),
        (
            "compute_logs: {module: dagster_azure.blob, class: AzureBlobComputeLogManager, config: {storage_account: a,"
            " container: c, secret_credential: {client_id: i, client_secret: planted, tenant_id: t}}}",
            {"secret_credential": {"client_id": "i", "client_secret": "***", "tenant_id": "t"}},
            [],
        ),
    ],
)
def test_object_stores_are_answered_by_ours(text, expected, ignored, tmp_path):
    """Every key of Dagster's three is taken, or left out aloud; no secret shows."""
    config = load(tmp_path, text)
    section = config.sections["compute_logs"]
    assert (section.module, section.class_name) == ("daglens.storage.object_store", "ObjectStoreComputeLogManager")
    assert section.config.items() >= expected.items()
    assert "planted" not in str(section.config)
    left_out = ", ".join(f"compute_logs.config.{key}" for key in ignored)
    told = f"dagster.yaml: ignored, as they mean nothing here: {left_out}"
    assert {*map(frozenset_of_names, config.notes)} == ({frozenset_of_names(told)} if ignored else set())


def frozenset_of_names(line: str) -> frozenset[str]:
    return frozenset(line.replace(",", "").split())


@pytest.mark.parametrize(
    ("of", "config", "sentence"),
    [
        ("S3", "{}", "the store s3 needs bucket"),
        ("GCS", "{prefix: x}", "the store gcs needs bucket"),
        ("AzureBlob", "{container: c}", "the store azure needs storage_account"),
        ("S3", "{bucket: b, secret_key: planted}", "secret_key: not for the store s3"),
        ("S3", "{bucket: b, prefix: ../x}", "prefix takes letters"),
        ("S3", "{bucket: b, prefix: a/./b}", "prefix takes letters"),
        ("S3", "{bucket: b, prefix: ''}", "prefix takes letters"),
        ("S3", "{bucket: b, upload_interval: 0}", "upload_interval_s must be from 0.05 to 3600"),
        ("S3", "{bucket: b, upload_extra_args: {ACL: public-read}}", "not ACL"),
        ("S3", "{bucket: b, access_key_id: planted}", "access_key_id and secret_access_key belong together"),
        ("S3", "{bucket: b, session_token: planted}", "session_token needs"),
        (
            "GCS",
            "{bucket: b, service_account_key: planted, json_credentials_envvar: X}",
            "takes one of service_account",
        ),
        ("AzureBlob", "{container: c, storage_account: a, secret_key: planted, sas_token: planted}", "takes one of"),
        ("AzureBlob", "{container: c, storage_account: a, bucket: b}", "bucket: not for the store azure"),
        ("GCS", "{bucket: b, region: r, use_ssl: false}", "region, use_ssl: not for the store gcs"),
    ],
)
def test_a_mistake_in_an_object_store_is_told(of, config, sentence, tmp_path):
    """What lacks, what belongs to another store, what can't be: a problem when the file is read, without secrets."""
    modules = {"S3": "dagster_aws.s3", "GCS": "dagster_gcp.gcs", "AzureBlob": "dagster_azure.blob"}
    text = f"compute_logs:\n  module: {modules[of]}\n  class: {of}ComputeLogManager\n  config: {config}\n"
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("dagster.yaml:4: compute_logs.config")
    assert sentence in problem
    assert "planted" not in problem


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("storage: {mysql: {mysql_url: planted}}", "storage.mysql", "daglens has no MySQL storage; "),
        ("storage: {custom: {module: dagster_mysql, class: DagsterMySQLStorage, config: {mysql_url: planted}}}",
         "storage.custom", "daglens has no MySQL storage; "),
        ("run_storage: {module: dagster_postgres.run_storage, class: PostgressRunStorage}", "run_storage.class",
         "daglens has nothing that answers for this class of Dagster's as a run storage, did you mean "
         "PostgresRunStorage?"),
        ("run_storage: {module: dagster.core.storage.runs, class: SqliteEventLogStorage}", "run_storage.class",
         "this is an event log storage and belongs under event_log_storage; run_storage takes a run storage"),
    ],
)  # fmt: skip
def test_what_is_not_there_says_what_to_use(text, place, sentence, tmp_path):
    """A name of Dagster's without a storage behind it is one problem, which tells what to do and no secret."""
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(f"dagster.yaml:1: {place}: {sentence}")
    assert "planted" not in problem


def test_unset_variables_are_told_beside_it(tmp_path):
    """All problems at once, also those in the configuration of a class that isn't there."""
    problems = problems_of(tmp_path, "storage:\n  mysql:\n    mysql_url: {env: MYSQL_URL}\n")
    assert len(problems) == 2
    assert problems[1] == "dagster.yaml:3: storage.mysql.mysql_url: the environment variable MYSQL_URL is not set"


@pytest.mark.parametrize("name", ALIASES, ids=".".join)
def test_every_alias_leads_somewhere(name):
    """To a class of ours that fulfils one contract, or to a sentence."""
    answer = ALIASES[name]
    if isinstance(answer, Ours):
        storage_class = getattr(importlib.import_module(answer.module), answer.class_name)
        assert [section for section in CONTRACTS if not missing_methods(storage_class, section)]
        fields = storage_class.Config.__dataclass_fields__
        assert not answer.ignored_keys & set(fields)
        assert {*answer.renamed_keys.values(), *answer.given} <= set(fields)
    elif isinstance(answer, NotYet):
        assert "leave the section out" in answer.sentence
    else:
        assert isinstance(answer, Unified)
        assert answer.key in ("sqlite", "postgres", "mysql")
