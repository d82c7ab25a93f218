"""docs/performance.md is what `make bench` prints."""

from __future__ import annotations

import runpy
import sys
from itertools import takewhile

import pytest

from tests.docs.snippets import ROOT, snippets

DOCUMENT = "docs/performance.md"


def test_the_table_has_the_columns_that_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and width of the tables of `make bench` are those of benchmarks/table.py."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    printed = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))
    head, rule = printed["markdown"]([])
    lines = (ROOT / DOCUMENT).read_text(encoding="utf-8").splitlines()
    begins = [number for number, line in enumerate(lines) if line == head]
    assert begins
    for begin in begins:
        assert lines[begin + 1] == rule
        rows = list(takewhile(lambda line: line.startswith("|"), lines[begin + 2 :]))
        assert rows
        assert {line.count("|") for line in rows} == {head.count("|")}


def test_it_names_the_command() -> None:
    """Whoever doubts a figure can measure it: the command is there, and the Makefile has it."""
    assert "`make bench`" in (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert "\nbench:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert snippets(DOCUMENT) == []
