"""Fixtures of the migrations' tests."""

from tests.storages.postgres_server import postgres, postgres_config, postgres_schema

__all__ = ["postgres", "postgres_config", "postgres_schema"]
