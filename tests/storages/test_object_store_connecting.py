"""From a configuration to a store: what the library is told, and what it is not told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import obstore.store
import pytest

from daglens.config.secrets import Secret
from daglens.storage.errors import StorageUnavailable
from daglens.storage.object_store import ObjectStoreComputeLogManager, ObjectStoreConfig
from daglens.storage.object_store.config import AzureClientSecret
from daglens.storage.object_store.connecting import connect
from tests.storages import children

STORES = {"s3": "S3Store", "gcs": "GCSStore", "azure": "AzureStore"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last store was made of: its settings, its options, and the keys that it gets when it asks."""
    heard: dict[str, Any] = {}

    def hear(bucket: str, **arguments: Any) -> None:
        provider = arguments.pop("credential_provider", None)
        heard.update(arguments, bucket=bucket, keys=provider() if provider else None)

    for name in STORES.values():
        monkeypatch.setattr(obstore.store, name, hear)
    return heard


def test_an_s3_store(told: dict[str, Any], tmp_path: Path) -> None:
    """Region, encryption, certificates and temporary keys reach the library."""
    (tmp_path / "certs.pem").write_bytes(b"certificates")
    connect(
        ObjectStoreConfig(
            bucket="logs",
            region="eu-west-3",
            verify=False,
            verify_cert_path=str(tmp_path / "certs.pem"),
            upload_extra_args={"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "a-key"},
            access_key_id=Secret("an-id"),
            secret_access_key=Secret("a-secret"),
            session_token=Secret("a-token"),
        )
    )
    assert told["bucket"] == "logs"
    assert told["config"] == {
        "region": "eu-west-3",
        "server_side_encryption": "aws:kms",
        "sse_kms_key_id": "a-key",
    }
    assert told["client_options"]["allow_invalid_certificates"] is True
    assert told["client_options"]["root_certificate"] == b"certificates"
    assert "allow_http" not in told["client_options"]
    expected = {"access_key_id": "an-id", "secret_access_key": "a-secret", "token": "a-token", "expires_at": None}
    assert told["keys"] == expected


@pytest.mark.parametrize(
    ("settings", "where", "http"),
    [
        ({"endpoint_url": "http://minio:9000"}, "http://minio:9000", True),
        ({"endpoint_url": "https://minio:9000", "use_ssl": False}, "https://minio:9000", False),
        ({"endpoint_url": "minio:9000", "use_ssl": False}, "http://minio:9000", True),
        ({"endpoint_url": "minio:9000"}, "https://minio:9000", False),
    ],
)
def test_another_address(settings: dict[str, Any], where: str, http: bool, told: dict[str, Any]) -> None:
    """With a scheme or without; plain http only when it is asked for."""
    connect(ObjectStoreConfig(bucket="logs", **settings))
    assert told["config"] == {
        "endpoint": where,
        "aws_endpoint_url_s3": where,
        "virtual_hosted_style_request": False,
    }
    assert ("allow_http" in told["client_options"]) is http


def test_without_keys_the_library_looks_for_them(told: dict[str, Any]) -> None:
    """In the environment and then at the machine's role; nothing is said in their place."""
    for store in STORES:
        azure = {"container": "logs", "storage_account": "account"}
        connect(ObjectStoreConfig(store=store, **(azure if store == "azure" else {"bucket": "logs"})))  # type: ignore[arg-type]
        assert told["keys"] is None
        assert told["config"] == ({"account_name": "account"} if store == "azure" else {})


def test_an_azure_store(told: dict[str, Any]) -> None:
    """By the account's key, by a signature, or by an application."""
    place: dict[str, Any] = {"store": "azure", "container": "logs", "storage_account": "account"}
    connect(ObjectStoreConfig(**place, secret_key=Secret("a-key")))
    assert told["keys"] == {"access_key": "a-key", "expires_at": None}
    connect(ObjectStoreConfig(**place, sas_token=Secret("?sv=1&sig=x")))
    assert told["keys"] == {"sas_token": "sv=1&sig=x", "expires_at": None}
    application = AzureClientSecret("an-id", Secret("a-secret"), "a-tenant")
    connect(ObjectStoreConfig(**place, secret_credential=application, endpoint_url="https://x"))
    assert told["config"] == {
        "account_name": "account",
        "endpoint": "https://x",
        "client_id": "an-id",
        "client_secret": "a-secret",
        "tenant_id": "a-tenant",
        "credential_type": "client_secret",
    }
    assert told["keys"] is None


def test_a_google_store(told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a service account's key, given or in a variable; one that isn't set is named."""
    connect(ObjectStoreConfig(store="gcs", bucket="logs", service_account_key=Secret("{}"), endpoint_url="https://x"))
    assert told["config"] == {"service_account_key": "{}", "base_url": "https://x"}
    monkeypatch.setenv("GCS_KEY", '{"type": "service_account"}')
    connect(ObjectStoreConfig(store="gcs", bucket="logs", json_credentials_envvar="GCS_KEY"))
    assert told["config"] == {"service_account_key": '{"type": "service_account"}'}
    monkeypatch.delenv("GCS_KEY")
    with pytest.raises(StorageUnavailable, match="variable GCS_KEY"):
        connect(ObjectStoreConfig(store="gcs", bucket="logs", json_credentials_envvar="GCS_KEY"))


def test_health_is_asked_in_seconds(told: dict[str, Any], tmp_path: Path) -> None:
    """Its requests have short limits and aren't tried again."""
    ObjectStoreComputeLogManager.from_config(ObjectStoreConfig(bucket="logs"), tmp_path)
    assert told["client_options"] == {"timeout": "3s", "connect_timeout": "3s"}
    assert told["retry_config"]["max_retries"] == 0


def test_a_key_that_can_t_be_read_is_not_shown() -> None:
    """The library's complaint may quote it."""
    config = ObjectStoreConfig(store="gcs", bucket="logs", service_account_key=Secret("planted {"))
    with pytest.raises(StorageUnavailable, match="can't be used with this configuration") as refused:
        connect(config)
    assert "planted" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    """A sentence with the file's name."""
    with pytest.raises(StorageUnavailable, match=r"certs\.pem: No such file or directory"):
        connect(ObjectStoreConfig(bucket="logs", verify_cert_path=str(tmp_path / "certs.pem")))


def test_the_library_is_imported_when_it_is_needed() -> None:
    """Neither daglens nor the class that dagster.yaml names brings it along."""
    code = "import sys, daglens.storage.object_store\nprint(sorted({'obstore', 'pydantic'} & set(sys.modules)))"
    assert children.outputs([children.start(code)]) == ["[]\n"]
