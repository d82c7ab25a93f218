"""Alembic's entry. A connection is handed over in `config.attributes`; no URL is read, so no password can be misread.

`schema` is a Postgres schema, or None.
"""

from __future__ import annotations

from typing import Any

from alembic import context

from daglens.storage.sql.tables import metadata

config = context.config
schema = config.attributes.get("schema")

options: dict[str, Any] = {
    "target_metadata": metadata,
    "version_table_schema": schema,
    "include_schemas": schema is not None,
}

if context.is_offline_mode():
    context.configure(dialect_name=config.attributes["dialect"], literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    context.configure(connection=config.attributes["connection"], **options)
    # The caller's transaction holds it all, the lock against a second migration included.
    context.run_migrations()
