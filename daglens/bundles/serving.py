"""An instance that reads bundles and nothing else: what `daglens serve --bundle` serves."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daglens.config.loaded import SECTION_NAMES, Section
from daglens.config.redaction import Redactor, shown
from daglens.instance import Instance, InstanceOrigin
from daglens.storage.bundle import BundleConfig, Bundles
from daglens.storage.bundle.opened import OnFile
from daglens.storage.contract import NoConfig

_MODULE = "daglens.storage.bundle"
_CLASSES = {
    "run_storage": "BundleRunStorage",
    "event_log_storage": "BundleEventLogStorage",
    "compute_logs": "BundleComputeLogManager",
    "local_artifact_storage": "NoArtifactStorage",
}


def open_bundles(paths: Sequence[str | os.PathLike[str]], *, on_file: OnFile | None = None) -> Instance:
    """Check the files and open them as one instance. Close it, or use it in a `with`.

    Its origin is EPHEMERAL: there is no folder in which anything would be kept. `home` is the folder that holds the
    files.

    Raises:
        InvalidBundle: One is no sound bundle, or two hold the same run.
    """
    files = tuple(os.path.abspath(path) for path in paths)
    home = Path(os.path.commonpath([os.path.dirname(file) for file in files]))
    bundles = Bundles.shared(tuple(map(Path, files)), on_file=on_file)
    try:
        sections = {name: _section(name, BundleConfig(files), home) for name in SECTION_NAMES}
        built = {name: section.build() for name, section in sections.items()}
    finally:
        # The storages have their own hold on them.
        bundles.release()
    return Instance(
        origin=InstanceOrigin.EPHEMERAL,
        home=home,
        runs=built["run_storage"],
        events=built["event_log_storage"],
        compute_logs=built["compute_logs"],
        artifacts=built["local_artifact_storage"],
        sections=sections,
    )


def _section(name: str, of_bundles: BundleConfig, home: Path) -> Section:
    storage_class = getattr(importlib.import_module(_MODULE), _CLASSES[name])
    config: Any = of_bundles if storage_class.Config is BundleConfig else NoConfig()
    return Section(
        name,
        _MODULE,
        _CLASSES[name],
        shown(config),
        lambda: storage_class.from_config(config, home),
        Redactor(),
        _place=(name,),
    )
