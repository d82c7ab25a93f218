"""Leases in a Postgres database."""

from __future__ import annotations

from daglens.storage.names import check_name
from daglens.storage.postgres.database import PostgresDatabase

_LEASE = """
INSERT INTO {s}.leases AS l (name, holder, expires_at_us) VALUES (%(name)s, %(holder)s, %(expires)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_us = excluded.expires_at_us
WHERE l.holder = excluded.holder OR l.expires_at_us <= %(now)s
RETURNING 1
"""


def take_lease(database: PostgresDatabase, name: str, holder: str, ttl_s: float, now_us: int) -> bool:
    """See Leases.lease."""
    expires = now_us + round(ttl_s * 1_000_000)
    values = {"name": check_name(name, "lease"), "holder": check_name(holder, "holder")}
    # Repeatable: what the lost answer said is what the same holder is told again.
    return bool(database.write(_LEASE, values | {"expires": expires, "now": now_us}, repeatable=True))
