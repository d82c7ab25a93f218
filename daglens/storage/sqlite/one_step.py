"""All rows of a SELECT in one step of SQLite.

Python's sqlite3 gives the interpreter's lock back and takes it again for each row. Where other threads are busy a row
then costs a change of threads: a page of 1000 events took 2.8 times as long, one of 25 runs 1.5 times, as the same rows
gathered by SQLite into one JSON text (requests per second of benchmarks/http_floor.py, both ways).
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def fetch(
    connection: sqlite3.Connection,
    columns: str,
    source: str,
    parameters: Sequence[Any] | Mapping[str, Any],
    *,
    long: str | None = None,
) -> list[Sequence[Any]]:
    """Rows of `columns` out of the SELECT `source`, which is called `page` in `columns`, in its order.

    Columns hold text, integers and null; a scalar subquery that makes JSON comes as what it says (see `nested`).
    `long` is one more column, which stands behind the others: text that may be of any length. It goes beside the JSON
    and not through it: to be written there and read again took 1000 texts of 1 kB three times as long, of 10 kB six
    times.
    """
    try:
        if long is None:
            row = connection.execute(
                f"SELECT json_group_array(json_array({columns})) FROM ({source}) AS page", parameters
            ).fetchone()
            rows: list[Sequence[Any]] = _loads(row[0])
            return rows
        # Bytes, since a NUL ends what SQLite counts as characters.
        row = connection.execute(
            f"SELECT json_group_array(json_array({columns}, length(CAST({long} AS BLOB)))), "
            f"CAST(group_concat({long}, '') AS BLOB) FROM ({source}) AS page",
            parameters,
        ).fetchone()
        return _with_texts(_loads(row[0]), row[1] or b"")
    except (sqlite3.DataError, UnicodeDecodeError):
        # More than a gigabyte, which SQLite has no text for; or what the driver has its own word for.
        columns = columns if long is None else f"{columns}, {long}"
        return connection.execute(f"SELECT {columns} FROM ({source}) AS page", parameters).fetchall()


def _with_texts(rows: list[list[Any]], texts: bytes) -> list[Sequence[Any]]:
    """The rows, each with its text in place of that text's length."""
    begins = 0
    for row in rows:
        length = row[-1]
        if length is not None:
            ends = begins + length
            row[-1] = texts[begins:ends].decode()
            begins = ends
    return rows  # type: ignore[return-value]


def nested(value: Any) -> Any:
    """What a column of JSON says. Whether SQLite knows it for JSON when it goes into another depends on its version."""
    return _loads(value) if isinstance(value, str) else value


def _loads(text: str) -> Any:
    # A server has orjson loaded. A recorder reads a row or two, and its start would take 3 ms more.
    orjson = sys.modules.get("orjson")
    return json.loads(text) if orjson is None else orjson.loads(text)
