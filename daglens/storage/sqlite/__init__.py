"""Runs and events in one SQLite file, `<base_dir>/daglens.db`: the default of a local instance."""

from __future__ import annotations

from daglens.storage.sqlite.config import SqliteConfig
from daglens.storage.sqlite.database import SqliteDatabase
from daglens.storage.sqlite.events import SqliteEventLogStorage
from daglens.storage.sqlite.runs import SqliteRunStorage

__all__ = ["SqliteConfig", "SqliteDatabase", "SqliteEventLogStorage", "SqliteRunStorage"]
