"""The census as a page, and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

Packages = Mapping[str, tuple[int, int, int, int]]

_HEADINGS = ("package", "files", "lines", "functions", "classes")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; }}
.bar {{ display: inline-block; height: .7em; background: #5b8def; margin-left: .5em; }}
</style></head><body>
<h1>{title}</h1><p>{summary}</p>
<table><thead><tr>{headings}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def html_page(title: str, summary: str, packages: Packages) -> str:
    """A page that stands by itself."""
    most = max((numbers[1] for numbers in packages.values()), default=1) or 1
    rows = "\n".join(_row(package, numbers, most) for package, numbers in packages.items())
    headings = "".join(f"<th>{name}</th>" for name in _HEADINGS)
    return _PAGE.format(title=escape(title), summary=escape(summary), headings=headings, rows=rows)


def _row(package: str, numbers: tuple[int, int, int, int], most: int) -> str:
    bar = f'<span class="bar" style="width:{8 * numbers[1] / most:.2f}rem"></span>'
    cells = "".join(f"<td>{number:,}</td>" for number in numbers)
    return f"<tr><td>{escape(package)}{bar}</td>{cells}</tr>"


def markdown_table(packages: Packages, limit: int) -> str:
    """The first packages as a Markdown table."""
    lines = [" | ".join(_HEADINGS), " | ".join(["---"] + ["--:"] * 4)]
    for package, numbers in list(packages.items())[:limit]:
        lines.append(" | ".join([package, *(f"{number:,}" for number in numbers)]))
    return "\n".join(f"| {line} |" for line in lines)
