"""Links of the repository's Markdown, as the site needs them: what is in the site is linked there, what is only in the
repository is named."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]

# Pages of the site that are files elsewhere in the repository.
ELSEWHERE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)


def for_the_site(markdown: str, source: str, page: str) -> str:
    """Markdown of the file `source`, told from the root of the repository, as that of the site's page `page`.

    A link to something that is nowhere stays as it is, so that a strict build fails at it.
    """
    parts = _FENCE.split(re.sub(r"^<!--.*?-->\n", "", markdown, flags=re.M))
    return "".join(
        part if n % 2 else _LINK.sub(lambda m: _changed(m, source, page), part) for n, part in enumerate(parts)
    )


def _changed(match: re.Match[str], source: str, page: str) -> str:
    picture, text, target = match.groups()
    name, hash_, anchor = target.partition("#")
    if re.match(r"[a-z]+:", target) or not name:
        return match[0]
    found = os.path.normpath(PurePosixPath(source).parent / name)
    in_site = ELSEWHERE.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else None)
    if in_site is not None:
        return f"{picture}[{text}]({os.path.relpath(in_site, PurePosixPath(page).parent)}{hash_}{anchor})"
    if not found.startswith("..") and (ROOT / found).exists():
        return text
    return match[0]
