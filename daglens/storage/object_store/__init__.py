"""Compute logs in an object store: S3, Google Cloud Storage, Azure Blob Storage. Needs `daglens[objectstore]`."""

from __future__ import annotations

from daglens.storage.object_store.compute_logs import ObjectStoreComputeLogManager
from daglens.storage.object_store.config import ObjectStoreConfig

__all__ = ["ObjectStoreComputeLogManager", "ObjectStoreConfig"]
