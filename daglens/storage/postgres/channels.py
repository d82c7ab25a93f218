"""Names of notification channels: they belong to a whole database, so each schema has its own."""

from __future__ import annotations

import hashlib


def news_channel(schema: str) -> str:
    """Where processes that append say which runs have news: the payload is a run id, and nothing else."""
    return f"daglens_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"


def echo_channel(schema: str, token: str) -> str:
    """Where one listening process hears itself; `token` is its own, of hexadecimal digits."""
    return f"{news_channel(schema)}_{token}"
