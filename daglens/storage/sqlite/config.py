"""What dagster.yaml may say of the SQLite storages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FILE_NAME = "daglens.db"

_MOST_TIMEOUT_S = 86_400

Durability = Literal["full", "normal"]


@dataclass(frozen=True, slots=True)
class SqliteConfig:
    """Where the one file is, and how safe and patient its writers are.

    Attributes:
        base_dir: Folder of `daglens.db`, on a disk of this machine; relative to the instance's folder. Default:
            `history` below that folder.
        durability: `full`: what was acknowledged survives a power cut. `normal`: it survives `kill -9`, but the last
            commits before a power cut may go; appends are several times as fast.
        busy_timeout_s: How long a writer waits for other processes' turns before it gives up; 0 to 86,400 seconds.
        statement_timeout_s: How long one statement that reads may run; 0: without limit.
    """

    base_dir: str | None = None
    durability: Durability = "full"
    busy_timeout_s: float = 30
    statement_timeout_s: float = 30

    def __post_init__(self) -> None:
        for key in ("busy_timeout_s", "statement_timeout_s"):
            if not 0 <= getattr(self, key) <= _MOST_TIMEOUT_S:
                raise ValueError(f"{key} must be from 0 to {_MOST_TIMEOUT_S} seconds")

    def file(self, home: Path) -> Path:
        """The database file of an instance whose folder is `home`."""
        folder = home / "history" if self.base_dir is None else home / Path(self.base_dir).expanduser()
        return folder / FILE_NAME
