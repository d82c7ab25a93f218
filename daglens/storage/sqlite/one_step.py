"""All rows of a SELECT in one step of SQLite.

Python's sqlite3 gives the interpreter's lock back and takes it again for each row. Where other threads are busy a row
then costs a change of threads: a page of 1000 events took 2.8 times as long, one of 25 runs 1.5 times, as the same rows
gathered by SQLite into one JSON text (requests per second of benchmarks/http_floor.py, both ways).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from daglens.storage.sql.whole_texts import loads


def fetch(
    connection: sqlite3.Connection, columns: str, source: str, parameters: Sequence[Any] | Mapping[str, Any]
) -> list[Sequence[Any]]:
    """Rows of `columns` out of the SELECT `source`, which is called `page` in `columns`, in its order.

    Columns hold text, integers and null; a scalar subquery that makes JSON comes as what it says (see `nested`).
    """
    try:
        row = connection.execute(
            f"SELECT json_group_array(json_array({columns})) FROM ({source}) AS page", parameters
        ).fetchone()
        rows: list[Sequence[Any]] = loads(row[0])
        return rows
    except _TOO_MUCH:
        return connection.execute(f"SELECT {columns} FROM ({source}) AS page", parameters).fetchall()


def fetch_columns(
    connection: sqlite3.Connection,
    columns: Sequence[str],
    source: str,
    parameters: Sequence[Any] | Mapping[str, Any],
    *,
    long: str,
) -> list[Sequence[Any]]:
    """Likewise, column by column: for 1000 events two thirds of the time of the same by row.

    `long` is one more column, which comes last: text that may be of any length, and is never null. It goes beside the
    JSON and not through it: to be written there and read again took 1000 texts of 1 kB three times as long, of 10 kB
    six times.
    """
    texts = [f"json_group_array({column})" for column in columns]
    try:
        *gathered, joined = connection.execute(
            f"SELECT {', '.join(texts)}, CAST(group_concat({long}, '{_BETWEEN}') AS BLOB) FROM ({source}) AS page",
            parameters,
        ).fetchone()
        found: list[Sequence[Any]] = [loads(text) for text in gathered]
        longs = [] if joined is None else _parts(joined)
        # Texts that hold what stands between them make more of them.
        if len(longs) == len(found[0]):
            return [*found, longs]
    except _TOO_MUCH:
        pass
    names = ", ".join([*columns, long])
    rows = connection.execute(f"SELECT {names} FROM ({source}) AS page", parameters).fetchall()
    return list(zip(*rows, strict=True)) if rows else [()] * (len(columns) + 1)


_BETWEEN = "\x1e"
"""ASCII's record separator, which JSON text can't hold as it is."""
_BETWEEN_BYTES = _BETWEEN.encode()


def _parts(joined: bytes) -> list[str]:
    if len(joined) <= _SHORT and joined.isascii():
        return joined.decode().split(_BETWEEN)
    # One by one: as one text, all characters of a page would be as wide as the widest of them, an emoji four bytes,
    # which takes twice the time; and a page of 200 MB would be there three times.
    parts, begins = [], 0
    while (ends := joined.find(_BETWEEN_BYTES, begins)) >= 0:
        parts.append(joined[begins:ends].decode())
        begins = ends + 1
    parts.append(joined[begins:].decode())
    return parts


_SHORT = 4 * 1024 * 1024

# More than a gigabyte, which SQLite has no text for; or what the driver has its own word for.
_TOO_MUCH = (sqlite3.DataError, UnicodeDecodeError)


def nested(value: Any) -> Any:
    """What a column of JSON says. Whether SQLite knows it for JSON when it goes into another depends on its version."""
    return loads(value) if isinstance(value, str) else value
