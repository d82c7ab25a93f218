"""One folder per run below a base folder, with a part for each kind of file: `<base>/<run>/<part>/…`.

Compute logs and artifacts of an instance share the base folder, and each removes only its own part.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from daglens.storage.errors import StorageUnavailable
from daglens.storage.names import check_name, file_name, is_cut
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
        size = sum(_file_sizes(path))
        for left in reversed(range(_REMOVALS)):
            try:
                _remove_tree(path)
            except FileNotFoundError:
                pass  # somebody else removes it, too
            except OSError as error:
                # Somebody who still writes there puts new files into a folder that was found empty.
                if left == 0:
                    raise unavailable(error) from error
            if not os.path.lexists(path):
                break
        with suppress(OSError):
            if set(os.listdir(path.parent)) <= {_RUN_ID_FILE}:
                (path.parent / _RUN_ID_FILE).unlink(missing_ok=True)
                path.parent.rmdir()
        return size

    def health(self) -> Health:
        """Whether files can be made below the base folder; makes it when missing."""
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
    temporary = path.parent / f".new-{secrets.token_hex(8)}"
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


def _file_sizes(path: Path) -> Iterator[int]:
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                found = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(found.st_mode):
                    yield found.st_size


def _remove_tree(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
