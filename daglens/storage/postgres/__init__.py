"""Runs and events in a Postgres database that many machines share."""

from __future__ import annotations

from daglens.storage.postgres.config import PostgresConfig, PostgresDb
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.postgres.events import PostgresEventLogStorage
from daglens.storage.postgres.runs import PostgresRunStorage

__all__ = ["PostgresConfig", "PostgresDatabase", "PostgresDb", "PostgresEventLogStorage", "PostgresRunStorage"]
