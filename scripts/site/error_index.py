"""The list of all error codes, each with the sentence that its page begins with."""

from __future__ import annotations

import re
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "errors"

HEAD = """# Error codes

What stands as `code` in an answer's `extensions` or error type, in the log, and in brackets before a command's message.

| code | |
|---|---|
"""


def codes() -> list[str]:
    """All codes, sorted."""
    return sorted(path.stem for path in PAGES.glob("*.md"))


def page() -> str:
    """Text of the page."""
    return HEAD + "".join(f"| [{code}](../errors/{code}.md) | {sentence(code)} |\n" for code in codes())


def sentence(code: str) -> str:
    """What the page of a code says first."""
    found = re.search(r"^\*\*(.+?)\*\*", (PAGES / f"{code}.md").read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None, code
    return " ".join(found[1].split()).replace("|", "\\|")
