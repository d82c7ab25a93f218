"""Reading runs: one statement for a thousand runs as for one, tags included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daglens.storage.names import clean_text
from daglens.storage.postgres.database import PostgresDatabase
from daglens.storage.postgres.texts import named, text_array
from daglens.storage.records import RunParts, RunRecord, RunSlice
from daglens.storage.sql.dialect import Dialect
from daglens.storage.sql.prefixes import after_prefix, distinct_texts
from daglens.storage.sql.rows import run_columns, run_of, texts_that_may_be_stored
from daglens.storage.sql.run_filters import RunQuery

VALUE_START = 100
"""Characters of a tag's value that its index holds: an entry has at most 2,704 bytes."""

_TAGS = """
ARRAY(SELECT ARRAY[t.key, t.value] FROM {s}.run_tags AS t WHERE t.run_id = r.run_id ORDER BY t.key) AS tags
"""

# Every list is written as a walk along one index, which RunQuery has chosen by counting, with look-ups on the way. Of a
# table that has grown since it was analysed, or of values that are rarer or more common in one place than in another,
# the planner would often rather gather everything, join and sort, or walk another index and throw most of it away; and
# compiling that (JIT) alone takes longer than the walk. So it gets little choice, and only rows count.
_WALK = "".join(
    f"SET LOCAL {setting};"
    for setting in (
        "jit = off",
        "enable_bitmapscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "enable_seqscan = off",
        "seq_page_cost = 0",
        "random_page_cost = 0",
    )
)


class PostgresDialect(Dialect):
    """Postgres chooses the order of a join itself; an expression around a column hides it from indexes."""

    look_up = "JOIN"
    plans_by_cost = True

    def any_of(self, column: str, parameter: str) -> str:
        """See Dialect."""
        return f"{column} = ANY(CAST(:{parameter} AS text[]))"

    def values(self, texts: Sequence[str]) -> Any:
        """See Dialect."""
        return text_array(texts)

    def table(self, name: str) -> str:
        """See Dialect."""
        return f"{{s}}.{name}"

    def tag_value_is(self, parameter: str) -> str:
        """See Dialect."""
        return f"left(t.value, {VALUE_START}) = left(:{parameter}, {VALUE_START}) AND t.value = :{parameter}"

    def run_has_tag(self, name: str, *, with_value: bool) -> str:
        """See Dialect. An EXISTS would become a join, for which the planner might read all tags of a key."""
        tags = f"{{s}}.run_tags AS {name} WHERE {name}.run_id = r.run_id AND {name}.key = :{name}_key"
        return f"(SELECT {f'{name}.value = :{name}_value' if with_value else 'true'} FROM {tags})"

    def filter_only(self, column: str) -> str:
        """See Dialect."""
        return f"(+{column})" if column.endswith("_us") else f"({column} || '')"


DIALECT = PostgresDialect()


def read_runs(database: PostgresDatabase, run_ids: Sequence[str], parts: RunParts) -> dict[str, RunRecord]:
    """The runs of these ids that exist."""
    ids = texts_that_may_be_stored(run_ids)
    if not ids:
        return {}
    rows = database.read(_WALK + select_runs(parts), {"runs": text_array(ids)})
    return {run.run_id: run for run in map(run_with_tags, rows)}


def select_runs(parts: RunParts, source: str = "{s}.runs") -> str:
    """SQL for the runs of `%(runs)s`, in rows of `run_with_tags`."""
    columns = f"{run_columns(parts, 'r.')}, {_tags(parts)}"
    return f"SELECT {columns} FROM {source} AS r WHERE r.run_id = ANY(%(runs)s::text[])"


def _tags(parts: RunParts) -> str:
    return _TAGS if RunParts.TAGS in parts else "'{}'::text[] AS tags"


def run_with_tags(row: Sequence[Any]) -> RunRecord:
    """The run in a row of its columns and, last, its tags in order of key."""
    return run_of(row, tuple((key, value) for key, value in row[-1]))


# ---------------------------------------------------------------- lists


def read_page(database: PostgresDatabase, query: RunQuery, limit: int, parts: RunParts) -> RunSlice:
    """At most `limit` runs, their tags as of the same moment."""
    page = named(query.page(_lead(database, query), run_columns(parts, "r.")))
    rows = database.read(
        f"{_WALK}SELECT r.*, {_tags(parts)} FROM ({page}) AS r", {**query.parameters, "limit": limit + 1}
    )
    runs = [run_with_tags(row) for row in rows]
    # They come in this order; but only an outer ORDER BY would promise it.
    runs.sort(key=lambda run: (run.created_at_us, run.run_id), reverse=query.newest_first)
    return RunSlice(runs[:limit], has_more=len(runs) > limit)


def count_runs(database: PostgresDatabase, query: RunQuery, up_to: int) -> int:
    """How many match, at most `up_to + 1`."""
    sql = named(query.count(_lead(database, query)))
    count: int = database.read(_WALK + sql, {**query.parameters, "limit": up_to + 1})[0][0]
    return count


def _lead(database: PostgresDatabase, query: RunQuery) -> Any:
    if not query.candidates:
        return None
    if not query.needs_probe:
        return query.candidates[0]
    return query.choose(database.read(_WALK + named(query.probe()), query.parameters)[0])


# ---------------------------------------------------------------- texts in use

# Values are found by their indexed starts; those that are longer than a start are few, and read as they are.
_VALUES = f"""
SELECT long.text FROM ({{starts}}) AS found CROSS JOIN LATERAL (
    SELECT found.text AS text WHERE length(found.text) < {VALUE_START} AND found.text >= :whole_first
    UNION
    SELECT t.value FROM {{s}}.run_tags AS t
    WHERE length(found.text) = {VALUE_START} AND t.key = :key AND left(t.value, {VALUE_START}) = found.text
    AND t.value >= :whole_first{{below}}
) AS long ORDER BY long.text LIMIT :limit
"""


def read_texts(database: PostgresDatabase, table: str, column: str, prefix: str, limit: int) -> list[str]:
    """Distinct values of a column that begin with `prefix`, in order of code points."""
    if limit <= 0 or clean_text(prefix) != prefix:
        return []
    end = after_prefix(prefix)
    sql = named(distinct_texts(f"{{s}}.{table}", column, bounded=end is not None))
    return [text for (text,) in database.read(_WALK + sql, {"first": prefix, "end": end, "limit": limit})]


def read_tag_values(database: PostgresDatabase, key: str, prefix: str, limit: int) -> list[str]:
    """Distinct values of one tag key that begin with `prefix`, in order of code points."""
    if limit <= 0 or any(clean_text(text) != text for text in (key, prefix)):
        return []
    start = prefix[:VALUE_START]
    end, whole_end = after_prefix(start), after_prefix(prefix)
    starts = distinct_texts("{s}.run_tags", f"left(value, {VALUE_START})", where="key = :key", bounded=end is not None)
    below = "" if whole_end is None else " AND t.value < :whole_end"
    values = {"first": start, "end": end, "limit": limit, "key": key, "whole_first": prefix, "whole_end": whole_end}
    sql = named(_VALUES.replace("{starts}", starts).replace("{below}", below))
    return [text for (text,) in database.read(_WALK + sql, values)]
