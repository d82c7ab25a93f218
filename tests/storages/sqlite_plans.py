"""Plans of the statements that run: what SQLite would walk, look up and sort."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

from daglens.storage.sqlite import SqliteDatabase


def statements_of(database: SqliteDatabase, work: Callable[[], object]) -> list[str]:
    """The texts of the statements that `work` runs, values filled in, without BEGIN and COMMIT."""
    seen: list[str] = []
    database.on_statement = seen.append
    try:
        work()
    finally:
        database.on_statement = None
    return [text for text in seen if text not in ("BEGIN", "BEGIN IMMEDIATE", "COMMIT")]


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """The lines of its plan."""
    return [line for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


def indexes(lines: list[str]) -> list[str]:
    """Indexes and primary keys that a plan uses, each once, in the order of the plan."""
    names = [
        match.group(1) or "PRIMARY KEY"
        for line in lines
        if (match := re.search(r"USING (?:COVERING )?INDEX (\w+)|USING (?:INTEGER )?PRIMARY KEY", line))
    ]
    return list(dict.fromkeys(names))


_HARMLESS_SCAN = re.compile(
    r"SCAN (CONSTANT ROW|.*VIRTUAL TABLE|.*USING (COVERING )?INDEX|(found|matching|page|c\d+|\(subquery-\d+\))$)"
)


def faults(lines: list[str]) -> list[str]:
    """Lines that mean: every row is read, or rows are sorted.

    Walking an index in order is neither, nor is reading what another part of the statement has limited.
    """
    return [
        line
        for line in lines
        if "TEMP B-TREE" in line or "AUTOMATIC" in line or (line.startswith("SCAN") and not _HARMLESS_SCAN.match(line))
    ]
