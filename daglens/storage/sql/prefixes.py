"""Distinct texts with a prefix, found by jumping from one to the next in an index.

Each costs one look-up, however often it is in use.
"""

from __future__ import annotations

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def after_prefix(prefix: str) -> str | None:
    """The smallest text, by code points, that is greater than every text with this prefix; None when there is none.

    (LIKE would take `%` and `_` of the prefix for wildcards, and SQLite's ignores case.)
    """
    while prefix:
        code = ord(prefix[-1]) + 1
        if code in _SURROGATES:
            code = _SURROGATES.stop
        if code <= _LAST_CODE_POINT:
            return prefix[:-1] + chr(code)
        prefix = prefix[:-1]
    return None


def distinct_texts(table: str, column: str, *, where: str = "", bounded: bool = True) -> str:
    """SQL that lists the distinct values of `column` in order, from `:first` on, below `:end`, at most `:limit`.

    Args:
        where: Another condition, on the columns that stand before `column` in the index.
        bounded: Without it there is no `:end`.
    """
    conditions = (f" AND {where}" if where else "") + (f" AND {column} < :end" if bounded else "")
    return (
        f"WITH RECURSIVE found(text) AS (SELECT min({column}) FROM {table} WHERE {column} >= :first{conditions} "
        f"UNION ALL SELECT (SELECT min({column}) FROM {table} WHERE {column} > found.text{conditions}) "
        "FROM found WHERE found.text IS NOT NULL) "
        "SELECT text FROM found WHERE text IS NOT NULL LIMIT :limit"
    )
