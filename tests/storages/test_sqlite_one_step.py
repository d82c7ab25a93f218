"""Rows that SQLite gathers into one text."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from types import ModuleType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.storage.sql.whole_texts import loads
from daglens.storage.sqlite.one_step import fetch, fetch_columns, nested

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.none() | TEXTS | st.integers(-(2**63), 2**63 - 1)
SOURCE = "SELECT number, value FROM given ORDER BY number DESC LIMIT 100"


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE given (number INTEGER PRIMARY KEY, value)")
    yield connection
    connection.close()


def fill(connection: sqlite3.Connection, values: list[str | int | None]) -> None:
    connection.execute("DELETE FROM given")
    connection.executemany("INSERT INTO given VALUES (?, ?)", enumerate(values))


@given(st.lists(VALUES, max_size=9))
def test_as_the_driver_gives_them(connection: sqlite3.Connection, values: list[str | int | None]) -> None:
    """Any text (quotes, NUL, what looks like JSON), any integer and null come as they are, in the source's order."""
    fill(connection, [*values, '{"a": "\\u0000"}', '\0\x1f"\\\n', "null", ""])
    rows = fetch(connection, "number, value", SOURCE, ())
    assert [tuple(row) for row in rows] == connection.execute(SOURCE).fetchall()
    assert len(rows) == len(values) + 4


@given(st.lists(TEXTS, max_size=9))
def test_columns_as_the_driver_gives_them(connection: sqlite3.Connection, values: list[str]) -> None:
    """Columns, and texts that go beside the JSON, too: none, empty ones, NULs, characters of any number of bytes, and
    what stands between them on their way."""
    for odd in ([], ["", "\0", "é\0\U0001f600", ""], ["\x1e"], ["a\x1e", ""]):
        fill(connection, [*values, *odd])
        for source in (SOURCE, "SELECT * FROM given WHERE number < 0"):
            numbers, texts = fetch_columns(connection, ["number"], source, (), long="value")
            assert list(zip(numbers, texts, strict=True)) == connection.execute(source).fetchall()


def test_many_long_texts(connection: sqlite3.Connection) -> None:
    """Texts of a few megabytes together, and characters of four bytes among those of one, come unchanged."""
    for texts in (["x" * 3_000_000, "", "y" * 3_000_000], ["plain", "\U0001f600\xe9", ""], [""], ["\xe9"]):
        fill(connection, list(texts))
        numbers, found = fetch_columns(connection, ["number"], SOURCE, (), long="value")
        assert (list(numbers), list(found)) == ([*range(len(texts))][::-1], texts[::-1])


def test_long_texts_are_not_written_as_json(connection: sqlite3.Connection) -> None:
    """Long texts are not made longer on their way: quoted, these would be twice as long, and too long for one text."""
    fill(connection, ['"' * 600, "\\" * 600])
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1500)
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    try:
        columns = fetch_columns(connection, ["number"], SOURCE, (), long="value")
    finally:
        connection.set_trace_callback(None)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)
    assert list(columns) == [[1, 0], ["\\" * 600, '"' * 600]]
    assert len(seen) == 1


def test_text_that_is_no_utf_8(connection: sqlite3.Connection) -> None:
    """What the driver says of it is said here, however the rows are fetched."""
    connection.execute("DELETE FROM given")
    connection.execute("INSERT INTO given VALUES (1, CAST(x'ff' AS TEXT))")
    with pytest.raises(sqlite3.OperationalError, match="UTF-8"):
        fetch(connection, "number, value", SOURCE, ())
    with pytest.raises(sqlite3.OperationalError, match="UTF-8"):
        fetch_columns(connection, ["number"], SOURCE, (), long="value")
    with pytest.raises(sqlite3.OperationalError, match="UTF-8"):
        fetch_columns(connection, ["value"], SOURCE, (), long="number")


@pytest.mark.parametrize("module", [None, ModuleType("orjson"), orjson])
def test_read_with_what_is_loaded(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    """Texts are read whether orjson is loaded, isn't, or is being imported by another thread."""
    if module is None:
        monkeypatch.delitem(sys.modules, "orjson")
    else:
        monkeypatch.setitem(sys.modules, "orjson", module)
    assert loads('[1, "\\u001e", null]') == [1, "\x1e", None]


def test_nested_lists(connection: sqlite3.Connection) -> None:
    """A subquery that makes JSON comes as a list, whatever stands in it, however SQLite hands it on."""
    fill(connection, ["[1]", None])
    column = "(SELECT json_group_array(json_array(value)) FROM given AS g WHERE g.number = page.number)"
    found = [nested(value) for number, value in fetch(connection, f"number, {column}", SOURCE, ())]
    assert found == [[[None]], [["[1]"]]]
    assert nested('[["[1]"]]') == [["[1]"]]
    assert nested(None) is None


def test_more_than_one_text_can_hold(connection: sqlite3.Connection) -> None:
    """Rows that are too long together come one by one."""
    fill(connection, ["x" * 900, "y" * 900])
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1500)
    try:
        assert [tuple(row) for row in fetch(connection, "number, value", SOURCE, ())] == [
            (1, "y" * 900),
            (0, "x" * 900),
        ]
        assert list(zip(*fetch_columns(connection, ["number"], SOURCE, (), long="value"), strict=True)) == [
            (1, "y" * 900),
            (0, "x" * 900),
        ]
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)
