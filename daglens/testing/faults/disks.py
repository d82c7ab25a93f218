"""A disk that can be filled to its last byte."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 65_536


class SmallDisk:
    """A folder on a disk of its own where mounting is allowed, else one where this process may write no more.

    Attributes:
        folder: Where to put the files.
        mounted: It is a file system of its own: other processes meet its end too, as "No space left on device".
            Without, a process's limit of file sizes stands in for it, and the system says "File too large".
    """

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder = folder
        self.mounted = mounted
        self._filler = folder / "filler"
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, leave_bytes: int = 0) -> None:
        """Take what is free but for `leave_bytes`."""
        if not self.mounted:
            largest = max((path.stat().st_size for path in self.folder.rglob("*") if path.is_file()), default=0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest + leave_bytes, self._limits[1]))
            return
        with self._filler.open("ab", buffering=0) as filler:
            size = _BLOCK
            while size:
                try:
                    filler.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
        if leave_bytes:
            os.truncate(self._filler, max(0, self._filler.stat().st_size - leave_bytes))

    def free(self) -> None:
        """Give all of it back."""
        if self.mounted:
            self._filler.unlink(missing_ok=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@contextmanager
def small_disk(folder: Path, size_bytes: int = 8 * 2**20, *, mount: bool = True) -> Iterator[SmallDisk]:
    """A disk of so many bytes at `folder`, which is made. Works for any user. `mount` False: as if nobody may mount."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = mount and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)], capture_output=True, check=False
        ).returncode
        == 0
    )
    disk = SmallDisk(folder, mounted=mounted)
    try:
        yield disk
    finally:
        disk.free()
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
