"""Reading runs: as many statements for a thousand runs as for one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from daglens.storage.records import RunFilter, RunParts, RunPosition, RunRecord, RunSlice
from daglens.storage.sql.dialect import Dialect
from daglens.storage.sql.prefixes import after_prefix, distinct_texts
from daglens.storage.sql.run_filters import RunQuery
from daglens.storage.sqlite.rows import bounded, json_array, run_columns, run_of, texts_that_may_be_stored

_TAGS = """
SELECT t.run_id, t.key, t.value FROM json_each(?) AS given CROSS JOIN run_tags AS t WHERE t.run_id = given.value
"""


class SqliteDialect(Dialect):
    """SQLite keeps the order of a CROSS JOIN, and takes a unary plus for no use of an index."""

    look_up = "CROSS JOIN"

    def any_of(self, column: str, parameter: str) -> str:
        """See Dialect."""
        return f"{column} IN (SELECT value FROM json_each(:{parameter}))"

    def values(self, texts: Sequence[str]) -> Any:
        """See Dialect."""
        return json.dumps(texts, ensure_ascii=False)

    def filter_only(self, column: str) -> str:
        """See Dialect."""
        return f"+{column}"


_DIALECT = SqliteDialect()


def read_runs(connection: sqlite3.Connection, run_ids: Sequence[str], parts: RunParts) -> dict[str, RunRecord]:
    """The runs of these ids that exist."""
    rows = connection.execute(
        f"SELECT {run_columns(parts, 'r.')} FROM json_each(?) AS given CROSS JOIN runs AS r "
        "WHERE r.run_id = given.value",
        (json_array(run_ids),),
    ).fetchall()
    return {run.run_id: run for run in _with_tags(connection, rows, parts)}


def _with_tags(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]], parts: RunParts) -> list[RunRecord]:
    if RunParts.TAGS not in parts or not rows:
        return [run_of(row, ()) for row in rows]
    tags: dict[str, list[tuple[str, str]]] = {}
    for run_id, key, value in connection.execute(_TAGS, (json.dumps([row[0] for row in rows]),)):
        tags.setdefault(run_id, []).append((key, value))
    # Already in order of key, as the table is; sorted so that it is promised.
    return [run_of(row, tuple(sorted(tags.get(row[0], ())))) for row in rows]


# ---------------------------------------------------------------- lists


def storable_query(
    filter: RunFilter, *, newest_first: bool = True, after: RunPosition | None = None
) -> RunQuery | None:
    """The query behind a list; None when no run can match."""
    names = (filter.parent_run_id, filter.root_run_id, *(tag.key for tag in filter.tags or ()))
    names += tuple(tag.value for tag in filter.tags or () if tag.value)
    if any(name is not None and not _can_be_bound(name) for name in names):
        return None
    query = RunQuery(
        replace(
            filter,
            run_ids=None if filter.run_ids is None else texts_that_may_be_stored(filter.run_ids),
            pipeline_names=None if filter.pipeline_names is None else texts_that_may_be_stored(filter.pipeline_names),
            created_after_us=_bounded(filter.created_after_us),
            created_before_us=_bounded(filter.created_before_us),
            updated_after_us=_bounded(filter.updated_after_us),
            updated_before_us=_bounded(filter.updated_before_us),
        ),
        _DIALECT,
        newest_first,
        None if after is None else RunPosition(bounded(after.created_at_us), after.run_id),
    )
    return None if query.matches_nothing else query


def read_page(connection: sqlite3.Connection, query: RunQuery, limit: int, parts: RunParts) -> RunSlice:
    """At most `limit` runs."""
    sql = query.page(_lead(connection, query), run_columns(parts, "r."))
    rows = connection.execute(sql, {**query.parameters, "limit": limit + 1}).fetchall()
    return RunSlice(_with_tags(connection, rows[:limit], parts), has_more=len(rows) > limit)


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


def _bounded(number: int | None) -> int | None:
    return None if number is None else bounded(number)


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
