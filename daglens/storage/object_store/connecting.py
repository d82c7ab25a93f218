"""From a configuration to a store of obstore, the library that speaks to all three clouds."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daglens.storage.errors import StorageUnavailable
from daglens.storage.object_store.config import ENCRYPTION, ENCRYPTION_KEY, ObjectStoreConfig

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

REQUEST_TIMEOUT_S = 30
_RETRIES = 2
QUICK_TIMEOUT_S = 3


def connect(config: ObjectStoreConfig, *, quick: bool = False) -> ObjectStore:
    """The store; nothing is asked of it yet. `quick`: requests take at most 3 s and aren't tried again.

    Raises:
        StorageUnavailable: obstore is not installed, or the store can't be made of this configuration.
    """
    try:
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError:
        raise StorageUnavailable(
            "Compute logs in an object store need the package obstore: pip install 'daglens[objectstore]'."
        ) from None
    options = _client_options(config, quick)
    retry: RetryConfig = {
        "max_retries": 0 if quick else _RETRIES,
        "retry_timeout": timedelta(seconds=QUICK_TIMEOUT_S if quick else 10),
    }
    try:
        if config.store == "azure":
            return AzureStore(
                config.container,
                config=_azure(config),
                client_options=options,
                retry_config=retry,
                credential_provider=_azure_keys(config),
            )
        if config.store == "gcs":
            return GCSStore(config.bucket, config=_gcs(config), client_options=options, retry_config=retry)
        return S3Store(
            config.bucket,
            config=_s3(config),
            client_options=options,
            retry_config=retry,
            credential_provider=_s3_keys(config),
        )
    except StorageUnavailable:
        raise
    except Exception as error:
        # Not its text: it may quote a key that can't be read.
        raise StorageUnavailable(
            f"{config.location}: the object store can't be used with this configuration ({type(error).__name__})."
        ) from None


def endpoint(config: ObjectStoreConfig) -> str | None:
    """Where the store answers, None: at the cloud's own address."""
    if config.endpoint_url is None or "://" in config.endpoint_url:
        return config.endpoint_url
    return f"{'https' if config.use_ssl else 'http'}://{config.endpoint_url}"


def _client_options(config: ObjectStoreConfig, quick: bool) -> ClientConfig:
    seconds = QUICK_TIMEOUT_S if quick else REQUEST_TIMEOUT_S
    options: ClientConfig = {"timeout": f"{seconds}s", "connect_timeout": f"{min(seconds, 5)}s"}
    if (endpoint(config) or "").startswith("http://"):
        options["allow_http"] = True
    if not config.verify:
        options["allow_invalid_certificates"] = True
    if config.verify_cert_path is not None:
        try:
            options["root_certificate"] = Path(config.verify_cert_path).expanduser().read_bytes()
        except OSError as error:
            raise StorageUnavailable(f"{config.verify_cert_path}: {error.strerror}.") from None
    return options


def _s3(config: ObjectStoreConfig) -> Any:
    settings: dict[str, Any] = {}
    where = endpoint(config)
    if where is not None:
        # Both: a variable AWS_ENDPOINT_URL_S3 would win over the first.
        settings |= {"endpoint": where, "aws_endpoint_url_s3": where, "virtual_hosted_style_request": False}
    if config.region is not None:
        settings["region"] = config.region
    extra = config.upload_extra_args or {}
    if ENCRYPTION in extra:
        settings["server_side_encryption"] = extra[ENCRYPTION]
    if ENCRYPTION_KEY in extra:
        settings["sse_kms_key_id"] = extra[ENCRYPTION_KEY]
    return settings


def _s3_keys(config: ObjectStoreConfig) -> Any:
    """The configured keys alone. As plain settings a session token of the environment would be mixed with them."""
    if config.access_key_id is None or config.secret_access_key is None:
        return None
    keys = {
        "access_key_id": config.access_key_id.reveal(),
        "secret_access_key": config.secret_access_key.reveal(),
        "token": None if config.session_token is None else config.session_token.reveal(),
        "expires_at": None,
    }
    return lambda: keys


def _gcs(config: ObjectStoreConfig) -> Any:
    settings: dict[str, Any] = {}
    where = endpoint(config)
    if where is not None:
        settings["base_url"] = where
    if config.service_account_key is not None:
        settings["service_account_key"] = config.service_account_key.reveal()
    if config.json_credentials_envvar is not None:
        key = os.environ.get(config.json_credentials_envvar)
        if not key:
            raise StorageUnavailable(
                f"The environment variable {config.json_credentials_envvar} (json_credentials_envvar) is not set."
            )
        settings["service_account_key"] = key
    return settings


def _azure(config: ObjectStoreConfig) -> Any:
    settings: dict[str, Any] = {"account_name": config.storage_account}
    where = endpoint(config)
    if where is not None:
        settings["endpoint"] = where
    client = config.secret_credential
    if client is not None:
        settings |= {
            "client_id": client.client_id,
            "client_secret": client.client_secret.reveal(),
            "tenant_id": client.tenant_id,
            "credential_type": "client_secret",
        }
    return settings


def _azure_keys(config: ObjectStoreConfig) -> Any:
    if config.secret_key is not None:
        key = {"access_key": config.secret_key.reveal(), "expires_at": None}
        return lambda: key
    if config.sas_token is not None:
        token = {"sas_token": config.sas_token.reveal().removeprefix("?"), "expires_at": None}
        return lambda: token
    return None
