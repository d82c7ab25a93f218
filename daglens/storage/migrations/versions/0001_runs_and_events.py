"""Runs with tags, and the event log.

Revision: 0001
After:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None

RunKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    schema = context.config.attributes.get("schema")
    _runs(schema)
    _events(schema)


def _runs(schema: str | None) -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", Name, primary_key=True, nullable=False),
        sa.Column("pipeline_name", Name, nullable=False),
        sa.Column("status", Name, nullable=False),
        sa.Column("parent_run_id", Name),
        sa.Column("root_run_id", Name),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger, nullable=False),
        sa.Column("started_at_us", sa.BigInteger),
        sa.Column("ended_at_us", sa.BigInteger),
        sa.Column("heartbeat_at_us", sa.BigInteger),
        sa.Column("heartbeat_timeout_s", sa.BigInteger),
        sa.Column("presumed", sa.Boolean, nullable=False),
        sa.Column("projected_seq", sa.BigInteger, nullable=False),
        sa.Column("change_number", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("created_with", sa.Text, nullable=False),
        sa.Column("step_keys_to_execute", sa.Text),
        sa.Column("run_config", sa.Text, nullable=False),
        schema=schema,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_runs_created", "runs", ["created_at_us", "run_id"], schema=schema)
    op.create_index("ix_runs_status", "runs", ["status", "created_at_us", "run_id"], schema=schema)
    op.create_index("ix_runs_pipeline", "runs", ["pipeline_name", "created_at_us", "run_id"], schema=schema)
    op.create_index("ix_runs_parent", "runs", ["parent_run_id", "created_at_us", "run_id"], schema=schema)
    op.create_index("ix_runs_root", "runs", ["root_run_id", "created_at_us", "run_id"], schema=schema)
    op.create_index("ix_runs_updated", "runs", ["updated_at_us"], schema=schema)
    op.create_index("ix_runs_change", "runs", ["change_number"], unique=True, schema=schema)

    runs = "runs" if schema is None else f"{schema}.runs"
    op.create_table(
        "run_tags",
        sa.Column(
            "run_id", Name, sa.ForeignKey(f"{runs}.run_id", ondelete="CASCADE"), primary_key=True, nullable=False
        ),
        sa.Column("key", Name, primary_key=True, nullable=False),
        sa.Column("value", Name, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        schema=schema,
        sqlite_with_rowid=False,
    )
    value = "value" if op.get_context().dialect.name == "sqlite" else sa.text("left(value, 100)")
    op.create_index("ix_run_tags_value", "run_tags", ["key", value, "created_at_us", "run_id"], schema=schema)
    op.create_index("ix_run_tags_key", "run_tags", ["key", "created_at_us", "run_id"], schema=schema)

    op.create_table(
        "deleted_runs",
        sa.Column("run_id", Name, primary_key=True, nullable=False),
        sa.Column("deleted_at_us", sa.BigInteger, nullable=False),
        sa.Column("change_number", sa.BigInteger),
        schema=schema,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_deleted_runs_deleted", "deleted_runs", ["deleted_at_us"], schema=schema)
    op.create_index("ix_deleted_runs_change", "deleted_runs", ["change_number"], unique=True, schema=schema)

    op.create_table(
        "run_feed",
        sa.Column("only", sa.SmallInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("last_change", sa.BigInteger, nullable=False),
        schema=schema,
    )
    feed = "run_feed" if schema is None else f'"{schema}".run_feed'
    random = (
        "lower(hex(randomblob(4)))" if op.get_context().dialect.name == "sqlite" else "left(md5(random()::text), 8)"
    )
    op.execute(f'INSERT INTO {feed} ("only", identity, last_change) VALUES (1, {random}, 0)')


def _events(schema: str | None) -> None:
    op.create_table(
        "event_heads",
        sa.Column("run_key", RunKey, primary_key=True, nullable=False),
        sa.Column("run_id", Name, nullable=False),
        sa.Column("incarnation", sa.Text, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("status", Name),
        sa.Column("started_at_us", sa.BigInteger),
        sa.Column("ended_at_us", sa.BigInteger),
        sa.Column("presumed", sa.Boolean, nullable=False),
        sa.Column("state_seq", sa.BigInteger, nullable=False),
        sa.Column("steps_in_progress", sa.BigInteger, nullable=False),
        sa.Column("steps_succeeded", sa.BigInteger, nullable=False),
        sa.Column("steps_failed", sa.BigInteger, nullable=False),
        sa.Column("steps_skipped", sa.BigInteger, nullable=False),
        sa.Column("materializations", sa.BigInteger, nullable=False),
        sa.Column("expectations", sa.BigInteger, nullable=False),
        sa.Column("expectations_failed", sa.BigInteger, nullable=False),
        sa.Column("heard_at_us", sa.BigInteger),
        sa.Column("deleted_at_us", sa.BigInteger),
        schema=schema,
    )
    op.create_index("ix_event_heads_run", "event_heads", ["run_id"], unique=True, schema=schema)
    deleted = sa.text("deleted_at_us IS NOT NULL")
    op.create_index(
        "ix_event_heads_deleted",
        "event_heads",
        ["deleted_at_us"],
        schema=schema,
        sqlite_where=deleted,
        postgresql_where=deleted,
    )

    op.create_table(
        "events",
        sa.Column("run_key", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("event_id", Name),
        sa.Column("event_type", Name, nullable=False),
        sa.Column("step_key", Name),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("timestamp_us", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        schema=schema,
        sqlite_with_rowid=False,
    )
    has_id = sa.text("event_id IS NOT NULL")
    op.create_index(
        "ix_events_event_id",
        "events",
        ["run_key", "event_id"],
        unique=True,
        schema=schema,
        sqlite_where=has_id,
        postgresql_where=has_id,
    )

    op.create_table(
        "event_steps",
        sa.Column("run_key", sa.BigInteger, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("step_key", Name, primary_key=True, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("status", Name, nullable=False),
        sa.Column("spans", sa.Text, nullable=False),
        sa.Column("materializations", sa.BigInteger, nullable=False),
        sa.Column("expectations", sa.BigInteger, nullable=False),
        schema=schema,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_steps_first", "event_steps", ["run_key", "first_seq"], unique=True, schema=schema)
