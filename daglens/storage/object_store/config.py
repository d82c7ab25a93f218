"""What dagster.yaml may say of compute logs in an object store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from daglens.config.secrets import Secret

DEFAULT_LOCAL_DIR = "compute-logs-spool"
"""Folder below the instance's, for logs on their way to the store."""

_PREFIX_PART = re.compile(r"(?!\.\.?$)[A-Za-z0-9._=-]*[A-Za-z0-9_=-]")

ENCRYPTION_KEY = "SSEKMSKeyId"
ENCRYPTION = "ServerSideEncryption"

# Which keys speak of which store; the others are for all.
_KEYS_OF: Mapping[str, frozenset[str]] = {
    "s3": frozenset(
        {"bucket", "region", "access_key_id", "secret_access_key", "session_token", "upload_extra_args", "use_ssl"}
    ),
    "gcs": frozenset({"bucket", "service_account_key", "json_credentials_envvar"}),
    "azure": frozenset({"container", "storage_account", "secret_key", "sas_token", "secret_credential"}),
}


@dataclass(frozen=True, slots=True)
class AzureClientSecret:
    """An application that may use the storage account (a service principal)."""

    client_id: str
    client_secret: Secret
    tenant_id: str


@dataclass(frozen=True, slots=True)
class ObjectStoreConfig:
    """Which store, how to get in, and how logs get there.

    Without keys the credentials are those of the environment: variables (`AWS_ACCESS_KEY_ID`,
    `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_KEY` and their like), or the role of the machine.

    Attributes:
        store: `s3` (and whatever speaks its protocol), `gcs` or `azure`.
        bucket: Of S3 and Google Cloud Storage.
        container, storage_account: Of Azure.
        prefix: What all object names begin with; parts between slashes have letters, digits, `-`, `_`, `=` and dots.
        local_dir: Folder on this machine for logs on their way; relative to the instance's folder. Default:
            `compute-logs-spool`.
        upload_interval_s: How often what is new is uploaded while a step runs: at most so much is lost with a machine.
        close_timeout_s: How long the end of a step, and the end of the process, wait for what is left to be uploaded.
        presigned_links: Whether `link` gives an address that is valid for an hour without credentials.
        endpoint_url: Where a store other than the cloud's own answers; with http:// it is not encrypted.
        use_ssl: False, as in Dagster's files: speak plain http to an `endpoint_url` without a scheme.
        verify: False: take any certificate.
        verify_cert_path: File with certificates to trust besides the system's.
        region: Of the bucket; default: `AWS_REGION`, then us-east-1.
        upload_extra_args: `ServerSideEncryption` and `SSEKMSKeyId`, as boto3 calls them.
        json_credentials_envvar: Name of a variable that holds a Google service account's key (JSON).
        service_account_key: That key itself.
        secret_key: Access key of the storage account.
        sas_token: Shared access signature, instead.
        secret_credential: An application, instead.
    """

    store: Literal["s3", "gcs", "azure"] = "s3"
    bucket: str | None = None
    container: str | None = None
    storage_account: str | None = None
    prefix: str = "daglens"
    local_dir: str | None = None
    upload_interval_s: float = 5
    close_timeout_s: float = 10
    presigned_links: bool = False
    endpoint_url: str | None = None
    use_ssl: bool = True
    verify: bool = True
    verify_cert_path: str | None = None
    region: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    upload_extra_args: Mapping[str, Any] | None = None
    json_credentials_envvar: str | None = None
    service_account_key: Secret | None = None
    secret_key: Secret | None = None
    sas_token: Secret | None = None
    secret_credential: AzureClientSecret | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, with a sentence that shows no value."""
        needed = ("container", "storage_account") if self.store == "azure" else ("bucket",)
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"the store {self.store} needs {' and '.join(missing)}")
        foreign = sorted(
            name
            for store, names in _KEYS_OF.items()
            for name in names - _KEYS_OF[self.store]
            if store != self.store and getattr(self, name) not in (None, True)
        )
        if foreign:
            raise ValueError(f"{', '.join(dict.fromkeys(foreign))}: not for the store {self.store}")
        if not all(_PREFIX_PART.fullmatch(part) for part in self.folder.split("/")):
            raise ValueError("prefix takes letters, digits, - _ = . and slashes")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token needs access_key_id and secret_access_key")
        if sum(way is not None for way in (self.secret_key, self.sas_token, self.secret_credential)) > 1:
            raise ValueError("takes one of secret_key, sas_token and secret_credential")
        if self.service_account_key is not None and self.json_credentials_envvar is not None:
            raise ValueError("takes one of service_account_key and json_credentials_envvar")
        extra = self.upload_extra_args or {}
        unknown = sorted(set(extra) - {ENCRYPTION, ENCRYPTION_KEY})
        if unknown:
            raise ValueError(f"upload_extra_args takes {ENCRYPTION} and {ENCRYPTION_KEY}, not {', '.join(unknown)}")
        if not all(isinstance(value, str) for value in extra.values()):
            raise ValueError("upload_extra_args takes texts")
        for name, low, high in (("upload_interval_s", 0.05, 3600), ("close_timeout_s", 0, 3600)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")

    @property
    def folder(self) -> str:
        """The prefix without needless slashes."""
        return "/".join(part for part in self.prefix.split("/") if part)

    @property
    def location(self) -> str:
        """The bucket or container, as an address without secrets."""
        if self.store == "azure":
            return f"az://{self.storage_account}/{self.container}"
        return f"{'gs' if self.store == 'gcs' else 's3'}://{self.bucket}"
