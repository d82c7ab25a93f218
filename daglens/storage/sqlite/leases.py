"""Leases in a SQLite file, inside a transaction that has the write lock."""

from __future__ import annotations

import sqlite3

from daglens.storage.names import check_name

_LEASE = """
INSERT INTO leases (name, holder, expires_at_us) VALUES (:name, :holder, :expires)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_us = excluded.expires_at_us
WHERE leases.holder = excluded.holder OR leases.expires_at_us <= :now
"""


def take_lease(connection: sqlite3.Connection, name: str, holder: str, ttl_s: float, now_us: int) -> bool:
    """See Leases.lease."""
    expires = now_us + round(ttl_s * 1_000_000)
    values = {"name": check_name(name, "lease"), "holder": check_name(holder, "holder")}
    return connection.execute(_LEASE, values | {"expires": expires, "now": now_us}).rowcount == 1
