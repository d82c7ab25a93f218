"""One folder per run below a base folder, with a part for each kind of file: `<base>/<run>/<part>/…`.

Compute logs and artifacts of an instance share the base folder, and each removes only its own part.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from daglens.storage.errors import StorageUnavailable
from daglens.storage.names import check_name, file_name, is_cut
from daglens.storage.random_ids import random_id
from daglens.storage.records import Health

DEFAULT_BASE = "storage"
"""The base folder below the instance's folder, when none is configured."""

_RUN_ID_FILE = ".run-id"
_REMOVALS = 5


def base_folder(configured: str | None, home: Path) -> Path:
    """The base folder: as configured (`~` and paths relative to the instance's folder are taken), or the default."""
    return home / (DEFAULT_BASE if configured is None else os.path.expanduser(configured))


class RunFolders:
    """The folders of one part, e.g. `compute_logs`."""

    def __init__(self, base: Path, part: str) -> None:
        """Nothing is made before it is needed."""
        self.base = base
        self.part = part

    def path(self, run_id: str) -> Path:
        """Where the part of a run is, or would be.

        Raises:
            InvalidName: The run id can't be one.
        """
        return self.base / file_name(check_name(run_id, "run id")) / self.part

    def make(self, run_id: str) -> Path:
        """The same, made when missing.

        Raises:
            InvalidName: The run id can't be one.
            StorageUnavailable: It can't be made.
        """
        path = self.path(run_id)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if is_cut(path.parent.name):
                write_once(path.parent / _RUN_ID_FILE, run_id)
        except OSError as error:
            raise unavailable(error) from error
        return path

    def remove(self, run_id: str) -> int:
        """Remove the part of a run, and the run's folder when nothing else is in it; bytes of the files that went.

        Killed half-way, a second call goes on. Nothing behind a symbolic link is touched.

        Raises:
            InvalidName: The run id can't be one.
            StorageUnavailable: Something can't be removed.
        """
        path = self.path(run_id)
        removed = 0
        for left in reversed(range(_REMOVALS)):
            try:
                tree = _tree(path)
                _remove(tree)
            except OSError as error:
                # Somebody who still writes there puts new files into a folder that was found empty.
                if left == 0 or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise unavailable(error) from error
                removed += tree.size_bytes
                continue
            removed += tree.size_bytes
            break
        with suppress(OSError):
            if set(os.listdir(path.parent)) <= {_RUN_ID_FILE}:
                (path.parent / _RUN_ID_FILE).unlink(missing_ok=True)
                path.parent.rmdir()
        return removed

    def health(self) -> Health:
        """Whether files can be made below the base folder; makes it when missing."""
        import tempfile

        try:
            self.base.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.base, prefix=".health-"):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            return Health(False, f"Files can't be written in {self.base}: {reason}. Check the folder's owner and disk.")
        return Health(True)


def write_once(path: Path, text: str) -> None:
    """Write a small file whole: a reader sees all of it or none. What is there already stays.

    Raises:
        OSError: It can't be written.
    """
    if path.exists():
        return
    replace(path, text)


def replace(path: Path, text: str) -> None:
    """Write a small file whole, in place of what may be there.

    Raises:
        OSError: It can't be written.
    """
    temporary = path.parent / f".new-{random_id(8)}"
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unavailable(error: OSError) -> StorageUnavailable:
    """What to raise for a file system that refuses."""
    return StorageUnavailable(f"{error.strerror or error}: {error.filename or 'a file of the instance'}.")


class _Tree(NamedTuple):
    """Everything below a folder, each folder before what is in it. No link is followed."""

    folders: list[str]
    others: list[str]
    size_bytes: int


def _tree(root: Path) -> _Tree:
    """As it is now; what vanishes meanwhile is left out."""
    # Not by os.walk and shutil.rmtree: they call themselves for each level, and a thousand levels are too many.
    folders, others, size = [str(root)], [], 0
    if root.is_symlink() or not root.is_dir():
        return _Tree([], [str(root)] if os.path.lexists(root) else [], 0)
    for folder in folders:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                others.append(entry.path)
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return _Tree(folders, others, size)


def _remove(tree: _Tree) -> None:
    for path in tree.others:
        with suppress(FileNotFoundError):
            os.unlink(path)
    for path in reversed(tree.folders):
        with suppress(FileNotFoundError):
            os.rmdir(path)
