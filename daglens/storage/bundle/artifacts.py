"""Bundles hold no artifacts; this says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

from daglens.storage.bundle.opened import refuse
from daglens.storage.contract import ArtifactStorage, NoConfig
from daglens.storage.errors import ArtifactNotFound
from daglens.storage.records import ArtifactSlice


class NoArtifactStorage(ArtifactStorage):
    """No artifacts, of any run. Making a folder raises ReadOnlyBundle."""

    Config: ClassVar[type[Any]] = NoConfig

    @classmethod
    def from_config(cls, config: NoConfig, home: Path) -> Self:
        """There is nothing to configure."""
        return cls()

    def folder(self, run_id: str) -> Path:
        """Raises ReadOnlyBundle."""
        refuse(run_id)

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        """None."""
        return ArtifactSlice((), False)

    def open(self, run_id: str, path: str) -> BinaryIO:
        """Raises ArtifactNotFound."""
        raise ArtifactNotFound(f"{path!r} of run {run_id!r}: a bundle holds no artifacts.")

    def delete(self, run_id: str) -> int:
        """Nothing to delete."""
        return 0
