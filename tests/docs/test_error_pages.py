"""docs/errors: every error code has its page, and every page is of a code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import daglens
from daglens.config.problems import ProblemCode
from daglens.storage.errors import DaglensError
from tests.docs.snippets import ROOT

PAGES = ROOT / "docs" / "errors"


def subclasses(kind: type[DaglensError]) -> Iterator[type[DaglensError]]:
    """The class and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def codes() -> set[str]:
    """Codes of all error classes, and those that the server, the schema and the configuration name as text."""
    for module in pkgutil.walk_packages(daglens.__path__, "daglens."):
        if not re.search(r"\.(__main__|migrations|env)", module.name) and "testing" not in module.name:
            importlib.import_module(module.name)
    found = {kind.code for kind in subclasses(DaglensError) if kind.__module__.startswith("daglens.")}
    found |= {code.value for code in ProblemCode}
    for folder in ("server", "schema"):
        for path in (ROOT / "daglens" / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r'(?:refusal\(\s*\d+,\s*|\d+: \(|code=|"code": )"([A-Z][A-Z_]{3,})"', text))
    masking = (ROOT / "daglens/schema/masking.py").read_text(encoding="utf-8")
    found |= set(re.findall(r'^[A-Z_]+ = "([A-Z_]+)"$', masking, re.M))
    return found


CODES = codes()


def test_many_codes_are_found():
    """What this file looks for is there to be found."""
    assert {"RUN_NOT_FOUND", "GRAPHQL_PARSE_FAILED", "NOT_FOUND", "CONFIG_INVALID", "FORBIDDEN"} <= CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_page(code: str):
    """The page is named after the code, says why it happens and what to do."""
    page = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {code}\n\n**")
    why, _, todo = page.partition("## What to do\n\n")
    assert "## Why\n\n" in why
    assert len(todo.strip()) > 20


def test_every_page_is_of_a_code():
    """A page of a code that the code has no more goes."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "daglens").rglob("*.py"))
    assert {page.stem for page in PAGES.glob("*.md") if f'"{page.stem}"' not in text} == set()
