"""Reading runs: as many statements for a thousand runs as for one."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from daglens.storage.records import RunParts, RunRecord, RunSlice
from daglens.storage.sql.dialect import Dialect
from daglens.storage.sql.prefixes import after_prefix, distinct_texts
from daglens.storage.sql.rows import RUN_COLUMNS, json_array, run_columns, run_of
from daglens.storage.sql.run_filters import RunQuery
from daglens.storage.sqlite.one_step import fetch, nested

_TAGS = "(SELECT json_group_array(json_array(t.key, t.value)) FROM run_tags AS t WHERE t.run_id = page.run_id)"


class SqliteDialect(Dialect):
    """SQLite keeps the order of a CROSS JOIN, and takes a unary plus for no use of an index."""

    look_up = "CROSS JOIN"
    plans_by_cost = False

    def any_of(self, column: str, parameter: str) -> str:
        """See Dialect."""
        return f"{column} IN (SELECT value FROM json_each(:{parameter}))"

    def values(self, texts: Sequence[str]) -> Any:
        """See Dialect."""
        return json.dumps(texts, ensure_ascii=False)

    def table(self, name: str) -> str:
        """See Dialect."""
        return name

    def tag_value_is(self, parameter: str) -> str:
        """See Dialect."""
        return f"t.value = :{parameter}"

    def run_has_tag(self, name: str, *, with_value: bool) -> str:
        """See Dialect."""
        tags = f"run_tags AS {name} WHERE {name}.run_id = r.run_id AND {name}.key = :{name}_key"
        return f"EXISTS (SELECT 1 FROM {tags}{f' AND {name}.value = :{name}_value' if with_value else ''})"

    def filter_only(self, column: str) -> str:
        """See Dialect."""
        return f"+{column}"


DIALECT = SqliteDialect()


def read_runs(connection: sqlite3.Connection, run_ids: Sequence[str], parts: RunParts) -> dict[str, RunRecord]:
    """The runs of these ids that exist."""
    source = f"SELECT {_named(parts)} FROM json_each(?) AS given CROSS JOIN runs AS r WHERE r.run_id = given.value"
    return {run.run_id: run for run in _runs(connection, source, (json_array(run_ids),), parts)}


@functools.cache
def _named(parts: RunParts) -> str:
    """The columns of a table r, each called by its own name: so they are found in `page`."""
    return ", ".join(
        f"{column} AS {column[2:]}" if column.startswith("r.") else column
        for column in run_columns(parts, "r.").split(", ")
    )


def _runs(connection: sqlite3.Connection, source: str, parameters: Any, parts: RunParts) -> list[RunRecord]:
    columns = f"{RUN_COLUMNS}, {_TAGS if RunParts.TAGS in parts else 'NULL'}"
    return [_run(row) for row in fetch(connection, columns, source, parameters)]


def _run(row: Sequence[Any]) -> RunRecord:
    tags = nested(row[-1])
    # Already in order of key, as the table is; sorted so that it is promised.
    return run_of(row, tuple(sorted(map(tuple, tags))) if tags else ())


# ---------------------------------------------------------------- lists


def read_page(connection: sqlite3.Connection, query: RunQuery, limit: int, parts: RunParts) -> RunSlice:
    """At most `limit` runs."""
    source = query.page(_lead(connection, query), _named(parts))
    runs = _runs(connection, source, {**query.parameters, "limit": limit + 1}, parts)
    return RunSlice(runs[:limit], has_more=len(runs) > limit)


def count_runs(connection: sqlite3.Connection, query: RunQuery, up_to: int) -> int:
    """How many match, at most `up_to + 1`."""
    sql = query.count(_lead(connection, query))
    count: int = connection.execute(sql, {**query.parameters, "limit": up_to + 1}).fetchone()[0]
    return count


def _lead(connection: sqlite3.Connection, query: RunQuery) -> Any:
    if not query.candidates:
        return None
    if not query.needs_probe:
        return query.candidates[0]
    return query.choose(connection.execute(query.probe(), query.parameters).fetchone())


def _can_be_bound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------- texts in use


def read_texts(
    connection: sqlite3.Connection, table: str, column: str, prefix: str, limit: int, *, key: str | None = None
) -> list[str]:
    """Distinct values of a column that begin with `prefix`; of `run_tags.value` those of one `key`."""
    if limit <= 0 or not _can_be_bound(prefix) or (key is not None and not _can_be_bound(key)):
        return []
    end = after_prefix(prefix)
    sql = distinct_texts(table, column, where="" if key is None else "key = :key", bounded=end is not None)
    parameters = {"first": prefix, "end": end, "limit": limit, "key": key}
    return [text for (text,) in connection.execute(sql, parameters)]
