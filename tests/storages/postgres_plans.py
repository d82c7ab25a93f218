"""A schema with 100,000 runs and 1,000,000 events, and what PostgreSQL does for a statement on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2

from daglens.storage.postgres import PostgresDatabase
from daglens.storage.records import RunStatus
from tests.storages.postgres_server import PostgresServer, set_up_statements

RUNS = 100_000
TAGS = 10
EVENTS = 1_000_000
EVENT_RUNS = 1000

_STATUSES = "ARRAY[" + ", ".join(f"'{status.value}'" for status in RunStatus) + "]"

# Ten runs are created in each microsecond, so that pages begin and end among equals. Key k has k³ + 1 values.
_FILL = f"""
SET session_replication_role = replica; SET synchronous_commit = off;
INSERT INTO {{s}}.runs (run_id, pipeline_name, status, parent_run_id, root_run_id, created_at_us, updated_at_us,
    presumed, projected_seq, change_number, created_with, run_config)
SELECT 'run-' || lpad(n::text, 6, '0'), 'pipeline ' || n % 40, ({_STATUSES})[1 + n % 8],
    'run-' || lpad((n / 2)::text, 6, '0'), 'run-' || lpad((n / 100 * 100)::text, 6, '0'), n / 10, n / 10 + 5,
    false, 0, n + 1, 'x', '{{{{}}}}'
FROM generate_series(0, {RUNS - 1}) AS n;
INSERT INTO {{s}}.run_tags (run_id, key, value, created_at_us)
SELECT 'run-' || lpad(n::text, 6, '0'), 'key ' || k, 'value ' || n % (k * k * k + 1), n / 10
FROM generate_series(0, {RUNS - 1}) AS n, generate_series(0, {TAGS - 1}) AS k;
INSERT INTO {{s}}.run_tags VALUES ('run-000007', 'rare', 'one', 0);
UPDATE {{s}}.run_feed SET last_change = {RUNS};
INSERT INTO {{s}}.event_heads (run_key, run_id, incarnation, last_seq, presumed, state_seq, steps_in_progress,
    steps_succeeded, steps_failed, steps_skipped, materializations, expectations, expectations_failed)
SELECT n + 1, 'run-' || lpad(n::text, 6, '0'), 'abc', {EVENTS // EVENT_RUNS}, false, 0, 0, 0, 0, 0, 0, 0, 0
FROM generate_series(0, {EVENT_RUNS - 1}) AS n;
INSERT INTO {{s}}.events
SELECT r, n, 'id ' || n, 'TYPE_' || n % 5, 'step ' || n % 7, n % 5 * 10 + 10, 0, 'message', '{{{{}}}}'
FROM generate_series(1, {EVENT_RUNS}) AS r, generate_series(1, {EVENTS // EVENT_RUNS}) AS n;
INSERT INTO {{s}}.event_steps
SELECT r, 'step ' || n, n, 'SUCCESS', '[]', 0, 0
FROM generate_series(1, {EVENT_RUNS}) AS r, generate_series(1, 20) AS n;
""".replace("{{}}", "{}")


def fill(postgres: PostgresServer, schema: str) -> None:
    """Make the schema. Indexes come last, which is quicker; statistics don't come: nothing is analysed."""
    statements = set_up_statements(schema).split(";")
    indexes = [statement for statement in statements if "CREATE INDEX" in statement or "CREATE UNIQUE" in statement]
    postgres.execute(";".join(statement for statement in statements if statement not in indexes))
    for table in ("runs", "run_tags", "events", "event_heads", "event_steps"):
        postgres.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = off)")
    postgres.execute(_FILL.replace("{s}", schema))
    postgres.execute(";".join(indexes))


@dataclass(frozen=True)
class Plan:
    """What was done for one statement.

    Attributes:
        nodes: The plan's nodes with what they met.
    """

    statement: str
    nodes: list[Mapping[str, Any]]

    @property
    def indexes(self) -> list[str]:
        """Indexes that were used, each once, in the order of the plan."""
        return list(dict.fromkeys(node["Index Name"] for node in self.nodes if "Index Name" in node and _looked(node)))

    @property
    def whole_tables(self) -> list[str]:
        """Tables of more than a page that were read from end to end."""
        return [
            node["Relation Name"]
            for node in self.nodes
            if node["Node Type"] == "Seq Scan" and _looked(node) and node["Relation Name"] != "run_feed"
        ]

    @property
    def touched(self) -> int:
        """Rows of tables and indexes that were looked at."""
        return sum(
            round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in self.nodes
            if "Relation Name" in node or "Index Name" in node
        )


def _looked(node: Mapping[str, Any]) -> bool:
    return bool(node["Actual Loops"])


def plans_of(database: PostgresDatabase, url: str, work: Callable[[], object]) -> list[Plan]:
    """Run it; the plan of each of its statements, as it was carried out."""
    seen: list[tuple[str, Mapping[str, Any]]] = []
    database.on_message = lambda sql, parameters: seen.append((sql, parameters))
    try:
        work()
    finally:
        database.on_message = None
    return [_explained(url, sql, parameters) for sql, parameters in seen]


_SETTINGS = re.compile(r"((?:\s*SET LOCAL [^;]*;)*)(.*)", re.DOTALL)


def _explained(url: str, sql: str, parameters: Mapping[str, Any]) -> Plan:
    found = _SETTINGS.fullmatch(sql)
    assert found is not None
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            explain = f"{found[1]} EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {found[2]}"
            cursor.execute(explain, parameters)
            told = cursor.fetchone()[0]
        connection.rollback()
    finally:
        connection.close()
    told = json.loads(told) if isinstance(told, str) else told
    return Plan(found[2], list(_nodes(told[0]["Plan"])))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
