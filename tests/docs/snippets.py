"""Code blocks of a Markdown document, with the marks that say how to test them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"(?:^<!-- test: (?P<mark>[\w -]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Snippet:
    """One fenced block.

    Attributes:
        mark: What stands in the comment `<!-- test: MARK -->` above it; None without one.
        line: Where the block begins.
    """

    language: str
    mark: str | None
    text: str
    line: int


def snippets(document: str) -> list[Snippet]:
    """The blocks of a document named from the root of the project, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Snippet(m["language"], m["mark"], m["text"], text.count("\n", 0, m.start("language")) + 1)
        for m in _BLOCK.finditer(text)
    ]


def marked(document: str, mark: str) -> list[Snippet]:
    """The blocks of a document with this mark; there is at least one."""
    found = [snippet for snippet in snippets(document) if snippet.mark == mark]
    assert found, f"{document} has no block marked {mark!r}"
    return found
