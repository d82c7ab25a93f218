"""The list of faults: each is tried, is told of in the docs, and existing tests name only what is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.testing.faults import FAULTS, fault
from tests.docs.snippets import ROOT

NAMES = [one.name for one in FAULTS]


def marks(folder: Path) -> Iterator[str]:
    """Names in `@pytest.mark.fault(...)` on tests below a folder."""
    for path in folder.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    yield from (ast.literal_eval(name) for name in mark.args)


MARKED = list(marks(ROOT / "tests"))
TRIED = set(marks(ROOT / "tests" / "faults"))


@pytest.mark.parametrize("name", NAMES)
def test_each_fault_is_tried(name: str) -> None:
    """A trial carries its name."""
    assert name in TRIED


def test_marks_name_faults_of_the_list() -> None:
    """No test claims a fault that isn't there, and no name is there twice."""
    assert set(MARKED) <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)
    with pytest.raises(KeyError):
        fault("nothing")


@pytest.mark.parametrize("name", NAMES)
def test_docs_tell_of_each_fault(name: str) -> None:
    """docs/reliability.md has a row for it in the promises and in the table of trials, which lost nothing, and says
    the sentence that a user sees."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(f"| `{name}` | ")]
    assert len(rows) == 2
    promise, tried = rows
    one = fault(name)
    assert promise[1:] == [one.broken, f"{one.promised} |"]
    assert int(tried[1].replace(",", "")) > 0
    assert tried[3] == "0"
    assert tried[4] == ("– |" if one.seen is None else f"“{one.seen}” |")
