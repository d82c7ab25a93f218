"""The tables of the SQL storages, as SQLAlchemy Core knows them.

Migrations make them (storage/migrations); tests hold the two equal. Times are microseconds since 1970-01-01 UTC.

A log's events are found by `run_key`, a 64-bit number that stands for the run id: with the id's text in every row and
index, events took 50 % more room and 30–50 % more time to append. The run tables use the id itself: lists are ordered
by it, and `run_tags` repeats it with `created_at_us`, so that a list filtered by tag is one walk along one index.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata = MetaData()

# Only a column of the very type INTEGER is SQLite's 64-bit row id; elsewhere INTEGER has 32 bits.
RunKey = BigInteger().with_variant(Integer(), "sqlite")

# Compared by code point on every machine: a locale would order names in another way, and change with its version.
Name = Text().with_variant(Text(collation="C"), "postgresql")

runs = Table(
    "runs",
    metadata,
    Column("run_id", Name, primary_key=True, nullable=False),
    Column("pipeline_name", Name, nullable=False),
    Column("status", Name, nullable=False),
    Column("parent_run_id", Name),
    Column("root_run_id", Name),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("started_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("heartbeat_at_us", BigInteger),
    Column("heartbeat_timeout_s", BigInteger),
    Column("presumed", Boolean, nullable=False),
    Column("projected_seq", BigInteger, nullable=False),
    # Number of the run's latest change (run_feed); what `changes` walks.
    Column("change_number", BigInteger, nullable=False),
    Column("created_by", Text),
    Column("created_with", Text, nullable=False),
    # JSON; last, because they may be long and most reads leave them out.
    Column("step_keys_to_execute", Text),
    Column("run_config", Text, nullable=False),
    Index("ix_runs_created", "created_at_us", "run_id"),
    Index("ix_runs_status", "status", "created_at_us", "run_id"),
    Index("ix_runs_pipeline", "pipeline_name", "created_at_us", "run_id"),
    Index("ix_runs_parent", "parent_run_id", "created_at_us", "run_id"),
    Index("ix_runs_root", "root_run_id", "created_at_us", "run_id"),
    Index("ix_runs_updated", "updated_at_us"),
    Index("ix_runs_change", "change_number", unique=True),
    sqlite_with_rowid=False,
)

run_tags = Table(
    "run_tags",
    metadata,
    Column("run_id", Name, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("key", Name, primary_key=True, nullable=False),
    Column("value", Name, nullable=False),
    # The run's own, which never changes.
    Column("created_at_us", BigInteger, nullable=False),
    # In Postgres of left(value, 100): an entry of an index has at most 2,704 bytes there, and a value any length.
    Index("ix_run_tags_value", "key", "value", "created_at_us", "run_id"),
    Index("ix_run_tags_key", "key", "created_at_us", "run_id"),
    sqlite_with_rowid=False,
)

deleted_runs = Table(
    "deleted_runs",
    metadata,
    Column("run_id", Name, primary_key=True, nullable=False),
    Column("deleted_at_us", BigInteger, nullable=False),
    # None when there was no row to delete: nobody saw the run, so nobody is told.
    Column("change_number", BigInteger),
    Index("ix_deleted_runs_deleted", "deleted_at_us"),
    Index("ix_deleted_runs_change", "change_number", unique=True),
    sqlite_with_rowid=False,
)

# One row. `identity` tells positions in this feed from those of another database.
run_feed = Table(
    "run_feed",
    metadata,
    Column("only", SmallInteger, primary_key=True, autoincrement=False, nullable=False),
    Column("identity", Text, nullable=False),
    Column("last_change", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Name, primary_key=True, nullable=False),
    Column("holder", Text, nullable=False),
    # By the storage's clock; from then on anybody may take it.
    Column("expires_at_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

event_heads = Table(
    "event_heads",
    metadata,
    Column("run_key", RunKey, primary_key=True, nullable=False),
    Column("run_id", Name, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    # The folded run state (fold.py). No status before the first run-level event.
    Column("status", Name),
    Column("started_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("presumed", Boolean, nullable=False),
    Column("state_seq", BigInteger, nullable=False),
    Column("steps_in_progress", BigInteger, nullable=False),
    Column("steps_succeeded", BigInteger, nullable=False),
    Column("steps_failed", BigInteger, nullable=False),
    Column("steps_skipped", BigInteger, nullable=False),
    Column("materializations", BigInteger, nullable=False),
    Column("expectations", BigInteger, nullable=False),
    Column("expectations_failed", BigInteger, nullable=False),
    Column("heard_at_us", BigInteger),
    Column("deleted_at_us", BigInteger),
    Index("ix_event_heads_run", "run_id", unique=True),
    Index(
        "ix_event_heads_deleted",
        "deleted_at_us",
        sqlite_where=text("deleted_at_us IS NOT NULL"),
        postgresql_where=text("deleted_at_us IS NOT NULL"),
    ),
)

# No foreign key to event_heads: it would be looked up for every event, and the head row is locked anyway.
events = Table(
    "events",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False, nullable=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False, nullable=False),
    Column("event_id", Name),
    Column("event_type", Name, nullable=False),
    Column("step_key", Name),
    Column("level", SmallInteger, nullable=False),
    Column("timestamp_us", BigInteger, nullable=False),
    # What a filter looks at stands before what may be long.
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index(
        "ix_events_event_id",
        "run_key",
        "event_id",
        unique=True,
        sqlite_where=text("event_id IS NOT NULL"),
        postgresql_where=text("event_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

event_steps = Table(
    "event_steps",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False, nullable=False),
    Column("step_key", Name, primary_key=True, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("status", Name, nullable=False),
    # JSON: [[attempt, status, started_at_us, ended_at_us], …]
    Column("spans", Text, nullable=False),
    Column("materializations", BigInteger, nullable=False),
    Column("expectations", BigInteger, nullable=False),
    Index("ix_event_steps_first", "run_key", "first_seq", unique=True),
    sqlite_with_rowid=False,
)
