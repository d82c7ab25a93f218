"""Databases to look at."""

from tests.storages.postgres_server import postgres, postgres_config, postgres_schema

__all__ = ["postgres", "postgres_config", "postgres_schema"]
