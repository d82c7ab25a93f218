"""Files as power cuts and failing disks leave them."""

from __future__ import annotations

from pathlib import Path
from random import Random

SQLITE_PAGE_BYTES = 4096


def tear(path: Path, random: Random) -> bytes:
    """Cut a file at a random place, at least a byte before its end; what is left."""
    content = path.read_bytes()
    left = content[: random.randrange(len(content))]
    path.write_bytes(left)
    return left


def corrupt_pages(path: Path, random: Random, count: int) -> list[int]:
    """Overwrite so many pages of a SQLite file, never the first, with random bytes; their numbers from 1.

    The first page says that this is a SQLite file at all. Nobody may have the file open, and its -wal must be empty.
    """
    content = bytearray(path.read_bytes())
    pages = sorted(random.sample(range(1, len(content) // SQLITE_PAGE_BYTES), count))
    for page in pages:
        start = page * SQLITE_PAGE_BYTES
        content[start : start + SQLITE_PAGE_BYTES] = random.randbytes(SQLITE_PAGE_BYTES)
    path.write_bytes(content)
    return [page + 1 for page in pages]
