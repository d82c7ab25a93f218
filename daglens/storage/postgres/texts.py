"""Values as texts inside a statement.

Lists go as one text, `{…}`, that the server takes apart: with a hundred rows that is twice as fast as psycopg2's own
ARRAY[…], each element of which the server's parser meets as an expression (benchmarks/postgres_append.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARAMETER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")


def text_array(texts: Iterable[str | None]) -> str:
    """A list of texts, to be read as `text[]`.

    Raises:
        ValueError: One has a NUL, which no text of the server's can hold.
    """
    given = texts if isinstance(texts, list | tuple) else list(texts)
    if not given:
        return "{}"
    try:
        # All at once: twice as fast for a hundred.
        joined = "\0".join(given)  # type: ignore[arg-type]
    except TypeError:
        return "{" + ",".join(["NULL" if text is None else f'"{_escaped(text)}"' for text in given]) + "}"
    if joined.count("\0") != len(given) - 1:
        raise ValueError("A text with a NUL can't be stored.")
    return '{"' + _escaped(joined).replace("\0", '","') + '"}'


def number_array(numbers: Iterable[int]) -> str:
    """A list of whole numbers, to be read as `bigint[]`."""
    return "{" + ",".join(map(str, numbers)) + "}"


def named(sql: str) -> str:
    """SQL with parameters written `:name`, in the way psycopg2 writes them."""
    return _PARAMETER.sub(r"%(\1)s", sql)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
