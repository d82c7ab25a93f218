"""The navigation of mkdocs.yml with its two wildcards replaced: `errors/` is each error's page, `*` each page of docs/
that no other entry names, so that a new page is found before anybody has thought of its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.site.error_index import codes
from scripts.site.links import ROOT

DOCS = ROOT / "docs"


def entries(nav: Any) -> Iterator[str]:
    """All pages that a navigation names, in order."""
    if isinstance(nav, str):
        yield nav
    else:
        for below in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(below)


def expanded(nav: Any) -> Any:
    """The navigation without wildcards."""
    named = set(entries(nav))
    rest = sorted(path.name for path in DOCS.glob("*.md") if path.name not in named)
    return _expanded(nav, {"errors/": [f"errors/{code}.md" for code in codes()], "*": rest})


def _expanded(nav: Any, wildcards: dict[str, list[str]]) -> Any:
    if isinstance(nav, list):
        found: list[Any] = []
        for each in nav:
            known = isinstance(each, str) and each in wildcards
            found += wildcards[each] if known else [_expanded(each, wildcards)]
        return found
    return {title: _expanded(below, wildcards) for title, below in nav.items()} if isinstance(nav, dict) else nav
