"""The revisions of the tables, which SQLite and Postgres share."""

from __future__ import annotations

from typing import Final

REVISIONS: Final[tuple[str, ...]] = ("0001", "0002")
"""Alembic's revisions, oldest first; the last is what this version of daglens works on."""
