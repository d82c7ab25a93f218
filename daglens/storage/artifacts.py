"""Artifacts of runs in local files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

from daglens.storage.contract import ArtifactStorage
from daglens.storage.errors import ArtifactNotFound, InvalidName
from daglens.storage.records import Artifact, ArtifactSlice, Health
from daglens.storage.run_folders import RunFolders, base_folder, unavailable

_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class LocalArtifactConfig:
    """Configuration of LocalArtifactStorage.

    Attributes:
        base_dir: The folder that holds a folder per run. Default: `storage` in the instance's folder.
    """

    base_dir: str | None = None


class LocalArtifactStorage(ArtifactStorage):
    """Files below `<base_dir>/<run>/artifacts`, put there by whoever records the run.

    Listed are regular files with names in UTF-8, and symbolic links to such files of the same run. Links to folders
    are not followed.
    """

    Config: ClassVar[type[Any]] = LocalArtifactConfig

    def __init__(self, base_dir: str | os.PathLike[str]) -> None:
        """`base_dir` is made when the first folder is."""
        self._folders = RunFolders(Path(base_dir), "artifacts")

    @classmethod
    def from_config(cls, config: LocalArtifactConfig, home: Path) -> Self:
        """As configured, below the instance's folder."""
        return cls(base_folder(config.base_dir, home))

    def folder(self, run_id: str) -> Path:
        """See ArtifactStorage."""
        return self._folders.make(run_id)

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        """See ArtifactStorage."""
        try:
            root = os.path.realpath(self._folders.path(run_id))
        except InvalidName:
            return ArtifactSlice((), False)
        found: list[Artifact] = []
        try:
            for artifact in _walk(root, after):
                if len(found) >= limit:
                    return ArtifactSlice(tuple(found), True)
                found.append(artifact)
        except OSError as error:
            raise unavailable(error) from error
        return ArtifactSlice(tuple(found), False)

    def open(self, run_id: str, path: str) -> BinaryIO:
        """See ArtifactStorage."""
        try:
            root = os.path.realpath(self._folders.path(run_id))
            real = _real_file(root, path)
            if real is None:
                raise ArtifactNotFound(f"{path!r} of run {run_id}.")
            fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except InvalidName as error:
            raise ArtifactNotFound(f"{path!r} of run {run_id!r}.") from error
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                raise ArtifactNotFound(f"{path!r} of run {run_id}.") from error
            raise unavailable(error) from error
        return os.fdopen(fd, "rb")

    def delete(self, run_id: str) -> int:
        """See ArtifactStorage."""
        try:
            return self._folders.remove(run_id)
        except InvalidName:
            return 0

    def health(self) -> Health:
        """Whether artifacts can be written."""
        return self._folders.health()


def _walk(root: str, after: str | None) -> Iterator[Artifact]:
    """Artifacts in order of path, those beyond `after`; folders that lie before it as a whole are not read."""
    open_folders = [_entries(root, "")]
    while open_folders:
        path = next(open_folders[-1], None)
        if path is None:
            open_folders.pop()
        elif path.endswith("/"):
            if after is None or path > after or after.startswith(path):
                open_folders.append(_entries(root, path))
        elif after is None or path > after:
            artifact = _artifact(root, path)
            if artifact is not None:
                yield artifact


def _entries(root: str, prefix: str) -> Iterator[str]:
    """Paths of a folder's entries, sorted. A folder's path ends in `/`, so that what is in `a` comes behind `a-b`, as
    in the order of paths."""
    try:
        with os.scandir(os.path.join(root, prefix)) as entries:
            paths = [prefix + entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return iter(())
    return iter(sorted(path for path in paths if _is_utf_8(path)))


def _artifact(root: str, path: str) -> Artifact | None:
    real = _real_file(root, path)
    if real is None:
        return None
    try:
        found = os.stat(real)
    except FileNotFoundError:
        return None  # deleted meanwhile
    return Artifact(path, found.st_size, found.st_mtime_ns // 1000)


def _real_file(root: str, path: str) -> str | None:
    """The file behind a path of a run's folder; None when there is none, or when it leads out."""
    if not path or "\0" in path or not _is_utf_8(path) or any(part in ("", ".", "..") for part in path.split("/")):
        return None
    real = os.path.realpath(os.path.join(root, path))
    if not real.startswith(root + os.sep):
        return None
    try:
        return real if stat.S_ISREG(os.stat(real).st_mode) else None
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            return None
        raise


def _is_utf_8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
