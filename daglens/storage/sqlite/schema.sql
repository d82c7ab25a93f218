-- What the migrations make of an empty SQLite file, in one go, so that a new one needs neither Alembic nor
-- SQLAlchemy. A test holds the two equal.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE runs (
    run_id TEXT NOT NULL,
    pipeline_name TEXT NOT NULL,
    status TEXT NOT NULL,
    parent_run_id TEXT,
    root_run_id TEXT,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL,
    started_at_us BIGINT,
    ended_at_us BIGINT,
    heartbeat_at_us BIGINT,
    heartbeat_timeout_s BIGINT,
    presumed BOOLEAN NOT NULL,
    projected_seq BIGINT NOT NULL,
    change_number BIGINT NOT NULL,
    created_by TEXT,
    created_with TEXT NOT NULL,
    step_keys_to_execute TEXT,
    run_config TEXT NOT NULL,
    PRIMARY KEY (run_id)
) WITHOUT ROWID;
CREATE INDEX ix_runs_created ON runs (created_at_us, run_id);
CREATE INDEX ix_runs_status ON runs (status, created_at_us, run_id);
CREATE INDEX ix_runs_pipeline ON runs (pipeline_name, created_at_us, run_id);
CREATE INDEX ix_runs_parent ON runs (parent_run_id, created_at_us, run_id);
CREATE INDEX ix_runs_root ON runs (root_run_id, created_at_us, run_id);
CREATE INDEX ix_runs_updated ON runs (updated_at_us);
CREATE UNIQUE INDEX ix_runs_change ON runs (change_number);

CREATE TABLE run_tags (
    run_id TEXT NOT NULL,
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    PRIMARY KEY (run_id, "key"),
    FOREIGN KEY(run_id) REFERENCES runs (run_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX ix_run_tags_value ON run_tags ("key", value, created_at_us, run_id);
CREATE INDEX ix_run_tags_key ON run_tags ("key", created_at_us, run_id);

CREATE TABLE deleted_runs (
    run_id TEXT NOT NULL,
    deleted_at_us BIGINT NOT NULL,
    change_number BIGINT,
    PRIMARY KEY (run_id)
) WITHOUT ROWID;
CREATE INDEX ix_deleted_runs_deleted ON deleted_runs (deleted_at_us);
CREATE UNIQUE INDEX ix_deleted_runs_change ON deleted_runs (change_number);

CREATE TABLE run_feed (
    only SMALLINT NOT NULL,
    identity TEXT NOT NULL,
    last_change BIGINT NOT NULL,
    PRIMARY KEY (only)
);

CREATE TABLE event_heads (
    run_key INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    last_seq BIGINT NOT NULL,
    status TEXT,
    started_at_us BIGINT,
    ended_at_us BIGINT,
    presumed BOOLEAN NOT NULL,
    state_seq BIGINT NOT NULL,
    steps_in_progress BIGINT NOT NULL,
    steps_succeeded BIGINT NOT NULL,
    steps_failed BIGINT NOT NULL,
    steps_skipped BIGINT NOT NULL,
    materializations BIGINT NOT NULL,
    expectations BIGINT NOT NULL,
    expectations_failed BIGINT NOT NULL,
    heard_at_us BIGINT,
    deleted_at_us BIGINT,
    PRIMARY KEY (run_key)
);
CREATE UNIQUE INDEX ix_event_heads_run ON event_heads (run_id);
CREATE INDEX ix_event_heads_deleted ON event_heads (deleted_at_us) WHERE deleted_at_us IS NOT NULL;

CREATE TABLE events (
    run_key BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    event_id TEXT,
    event_type TEXT NOT NULL,
    step_key TEXT,
    level SMALLINT NOT NULL,
    timestamp_us BIGINT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run_key, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX ix_events_event_id ON events (run_key, event_id) WHERE event_id IS NOT NULL;

CREATE TABLE event_steps (
    run_key BIGINT NOT NULL,
    step_key TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    status TEXT NOT NULL,
    spans TEXT NOT NULL,
    materializations BIGINT NOT NULL,
    expectations BIGINT NOT NULL,
    PRIMARY KEY (run_key, step_key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX ix_event_steps_first ON event_steps (run_key, first_seq);

CREATE TABLE leases (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    PRIMARY KEY (name)
) WITHOUT ROWID;

INSERT INTO run_feed (only, identity, last_change) VALUES (1, lower(hex(randomblob(4))), 0);
INSERT INTO alembic_version (version_num) VALUES ('0002');
