"""Where a run's files go: its folder of the artifact storage, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from daglens.recorder.problems import Problems
from daglens.storage.errors import InvalidName

MAX_PATH_CHARS = 1000


class ArtifactFolder:
    """The folder of one run, found when it is first needed."""

    def __init__(self, find: Callable[[], Path], problems: Problems) -> None:
        self._find = find
        self._problems = problems
        self._folder: Path | None = None

    def path(self, name: str | os.PathLike[str]) -> Path:
        """Where the artifact of this name (a relative path with `/`) is to be written; its folders are made.

        When the storage has no folder for it, the path is in a temporary one, and that is said: the pipeline goes on.

        Raises:
            InvalidName: The name is absolute, empty, too long, has a NUL or an odd part such as `..`, or leads out of
                the run's folder by a symbolic link.
        """
        parts = _checked(os.fspath(name))
        folder = self.folder()
        target = folder.joinpath(*parts)
        try:
            if not target.parent.resolve().is_relative_to(folder.resolve()) or target.is_symlink():
                raise InvalidName(f"The artifact {name!r} leads out of the run's folder by a symbolic link.")
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                raise InvalidName(f"The artifact {name!r} is a folder already.")
        except OSError as error:
            raise InvalidName(f"The artifact {name!r} can't be written: {error.strerror}.") from None
        return target

    def folder(self) -> Path:
        """The run's folder."""
        if self._folder is None:
            try:
                self._folder = self._find()
            except Exception as error:
                import tempfile

                self._folder = Path(tempfile.mkdtemp(prefix="daglens-lost-artifacts-"))
                self._problems.say(
                    "artifacts", f"Artifacts of the run can't be stored; they go to {self._folder}: {error}"
                )
        return self._folder


def _checked(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or "\0" in name:
        raise InvalidName(f"The artifact {name!r} must be named by a path below the run's folder.")
    if len(name) > MAX_PATH_CHARS or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts):
        raise InvalidName(f"The name of the artifact {name[:50]!r}… is too long.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidName(f"The artifact {name!r} has half of a surrogate pair in its name.") from None
    return parts
