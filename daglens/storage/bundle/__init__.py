"""Run bundles, read only: the storages behind `daglens serve --bundle`, and the smallest that fulfil the contracts.

docs/bundles.md tells the format.
"""

from __future__ import annotations

from daglens.storage.bundle.artifacts import NoArtifactStorage
from daglens.storage.bundle.compute_logs import BundleComputeLogManager
from daglens.storage.bundle.events import BundleEventLogStorage
from daglens.storage.bundle.opened import BundleConfig, Bundles
from daglens.storage.bundle.runs import BundleRunStorage

__all__ = [
    "BundleComputeLogManager",
    "BundleConfig",
    "BundleEventLogStorage",
    "BundleRunStorage",
    "Bundles",
    "NoArtifactStorage",
]
