"""Which file system a path is on: SQLite's WAL shares memory between processes, which no network carries."""

from __future__ import annotations

import os
from pathlib import Path

from daglens.storage.errors import StorageUnavailable

NETWORK_TYPES = frozenset(
    {
        *("afs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs", "gfs2", "gpfs", "lustre", "ncp", "ncpfs", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "wekafs"),
        *("fuse.beegfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys"),
        *("fuse.juicefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)

_MOUNTS = Path("/proc/self/mountinfo")


def _unescaped(text: str) -> str:
    # The kernel writes space, tab, newline and backslash of a path as octal.
    for escape, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, char)
    return text


def file_system_type(path: Path, mounts: str) -> str | None:
    """Type of the file system that an absolute path is on, by the text of a mountinfo file; None when it isn't told."""
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")[0]
        if not separator or len(fields) < 5:
            continue
        mount_point = Path(_unescaped(fields[4]))
        # Of two mounts on one place the later one covers the earlier.
        if path.is_relative_to(mount_point) and (best is None or len(mount_point.parts) >= best[0]):
            best = (len(mount_point.parts), kind)
    return None if best is None else best[1]


def file_system_of(folder: Path, mounts_file: Path = _MOUNTS) -> str | None:
    """Type of the file system that a folder is on; None where the kernel doesn't tell (no /proc)."""
    try:
        mounts = mounts_file.read_text(errors="surrogateescape")
    except OSError:
        return None
    return file_system_type(Path(os.path.realpath(folder)), mounts)


def refuse_network(folder: Path, mounts_file: Path = _MOUNTS) -> None:
    """Refuse a folder on a network file system. Where the kernel doesn't tell (no /proc), every folder passes.

    Raises:
        StorageUnavailable: With a sentence that says what to do.
    """
    kind = file_system_of(folder, mounts_file)
    if kind in NETWORK_TYPES:
        raise StorageUnavailable(
            f"{folder} is on a network file system ({kind}), where a SQLite file that several processes write gets "
            "damaged. Set base_dir to a folder on a disk of this machine, or keep the history in PostgreSQL."
        )
