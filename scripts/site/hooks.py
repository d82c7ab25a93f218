"""MkDocs calls these: they add the pages that are made from the code, and see to it that a site needs no network."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.site import commands, docstrings, error_index, sdl
from scripts.site.links import ELSEWHERE, ROOT, for_the_site
from scripts.site.navigation import expanded

GENERATED = {
    "reference/commands.md": commands.page,
    "reference/graphql.md": sdl.page,
    "reference/python.md": docstrings.python_api,
    "reference/contracts.md": docstrings.contracts,
    "reference/errors.md": error_index.page,
}

# What a browser loads by itself; links that somebody follows may lead anywhere.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^>]*>|<link\b[^>]*\bhref=["']?(?:https?:)?//[^>]*>"""
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the wildcards of the navigation."""
    config.nav = expanded(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root and those that are made."""
    for name, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for page, make in GENERATED.items():
        files.append(File.generated(config, page, content=make()))
    files.append(File.generated(config, "reference/schema.graphql", content=sdl.FILE.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site needs them."""
    path = page.file.src_uri
    sources = {name: source for source, name in ELSEWHERE.items()}
    return for_the_site(markdown, sources.get(path, f"docs/{path}"), path)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a page that makes a browser load something from another server.

    Raises:
        PluginError
    """
    found = [
        f"{path}: {match[0]}"
        for path in Path(config.site_dir).rglob("*.html")
        for match in _LOADED.finditer(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise PluginError("These pages load something from another server:\n" + "\n".join(found))
