"""The site of the docs: its navigation leads to every page, its reference tells everything, its links hold.

`make docs` builds it and follows every link; CI does so too. What is here needs no MkDocs.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest
import yaml
from graphql import build_schema

import daglens
from daglens.cli import script_commands
from daglens.storage import contract
from scripts.site import commands, docstrings, error_index, sdl
from scripts.site.links import ELSEWHERE, ROOT, for_the_site
from scripts.site.navigation import entries, expanded
from tests.deploy.commands import parsed

DOCS = ROOT / "docs"
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
MADE = [
    "reference/commands.md",
    "reference/graphql.md",
    "reference/python.md",
    "reference/contracts.md",
    "reference/errors.md",
]


def test_every_page_is_in_the_navigation() -> None:
    """A page that nobody would find isn't there, no entry leads nowhere, and none stands twice."""
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    found = list(entries(expanded(NAV)))
    assert sorted(found) == sorted([*written, *ELSEWHERE.values(), *MADE])


def test_a_new_page_is_found_by_itself() -> None:
    """Entries that nobody wrote are in the place for pages without a place of their own."""
    pages = list(entries(expanded([{"Why": ["how-it-works.md", "*"]}])))
    assert pages[0] == "how-it-works.md"
    assert sorted(pages) == sorted(path.name for path in DOCS.glob("*.md"))


def test_every_command_is_told() -> None:
    """Each command and each of its options; a command line made of them is one that `daglens` takes."""
    told = commands.page()
    names = [command.name for command in commands.commands()]
    assert {"daglens serve", "daglens record", "daglens run start", "daglens tokens add"} <= set(names)
    for name in names:
        assert f"\n## {name}\n" in told
    for name in ("serve", "tokens list"):
        assert parsed(name.split())[0] == name
    assert set(script_commands.NAMES) <= {name.split()[1] for name in names}
    for text in ("`--host TEXT` | Address to listen on. [default: 127.0.0.1]", "`--step KEY`", "`NAME`", "[required]"):
        assert text in told
    assert not re.search(r"<(str|int|list|float)", told)


def test_every_type_is_told() -> None:
    """Each type, field, argument and enum value of the schema, and each link among them leads to a heading."""
    told = sdl.page()
    schema = build_schema(sdl.FILE.read_text(encoding="utf-8"))
    roots = {root.name for root in (schema.query_type, schema.mutation_type, schema.subscription_type) if root}
    anchors = set(re.findall(r"\{#([\w-]+)\}", told))
    for name, found in schema.type_map.items():
        if name.startswith("__") or name in ("String", "Int", "Float", "Boolean", "ID"):
            continue
        assert (f"type-{name}" in anchors) != (name in roots)
        for member in (*getattr(found, "fields", ()), *getattr(found, "values", ())):
            assert re.search(rf"`{member}[`(]|^### {member}$", told, re.M), f"{name}.{member}"
    assert set(re.findall(r"\(#([\w-]+)\)", told)) <= anchors


def test_every_contract_is_told() -> None:
    """Each method of the four contracts with what it raises, and each public name of the package."""
    told = docstrings.contracts()
    for kind in docstrings.members(contract):
        for name in (
            name for name, value in vars(kind).items() if not name.startswith("_") and inspect.isfunction(value)
        ):
            if getattr(kind, name).__doc__:
                assert f" {kind.__name__}.{name}\n" in told
    assert "- `RunDeleted`: " in told
    assert "**Raises**" in told
    public = docstrings.python_api()
    for name in daglens.__all__:
        assert name.startswith("_") or f"\n## {getattr(daglens, name).__name__}\n" in public
    for text in (told, public):
        assert not re.search(r"<\w+\.\w+|: '|<object|0x[0-9a-f]{6}", text)


def test_every_error_is_listed() -> None:
    """With a link to its page and the sentence that it begins with."""
    told = error_index.page()
    assert len(error_index.codes()) == len(list((DOCS / "errors").glob("*.md")))
    assert "| [RUN_FULL](../errors/RUN_FULL.md) | A run holds at most 2,147,483,647 events. |" in told


LINKS = [
    ("docs/api.md", "api.md", "[a](access.md#tokens)", "[a](access.md#tokens)"),
    ("README.md", "index.md", "![a](docs/images/graphiql.png)", "![a](images/graphiql.png)"),
    ("README.md", "index.md", "[a `b`](docs/api.md#x)", "[a `b`](api.md#x)"),
    ("README.md", "index.md", "[`storage`](storage)", "`storage`"),
    ("docs/errors/X.md", "errors/X.md", "[a](../access.md)", "[a](../access.md)"),
    ("docs/api.md", "api.md", "[a](../README.md) [b](../CHANGELOG.md)", "[a](index.md) [b](changelog.md)"),
    ("docs/api.md", "api.md", "[a](../daglens/instance.py)", "a"),
    ("docs/api.md", "api.md", "[a](../daglens/nowhere.py)", "[a](../daglens/nowhere.py)"),
    ("docs/api.md", "api.md", "[a](https://example.org/x) [b](#c)", "[a](https://example.org/x) [b](#c)"),
    ("docs/api.md", "api.md", "```\n[a](../daglens/instance.py)\n```\n", "```\n[a](../daglens/instance.py)\n```\n"),
    ("docs/api.md", "api.md", "<!-- test: x -->\na", "a"),
]


@pytest.mark.parametrize(("source", "page", "before", "after"), LINKS)
def test_links_of_the_repository_become_links_of_the_site(source: str, page: str, before: str, after: str) -> None:
    """What is in the site is linked there, what is only in the repository is named, and what is nowhere stays, so
    that the build fails at it."""
    assert for_the_site(before, source, page) == after


@pytest.mark.parametrize("name", sorted([*ELSEWHERE, *(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md"))]))
def test_links_lead_somewhere(name: str) -> None:
    """Each file that a page links is in the repository."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", text):
        assert ((ROOT / name).parent / target).exists(), target


def test_modules_of_the_reference_are_there() -> None:
    """What the reference imports by name has members."""
    for name in ("daglens.storage.contract", "daglens.storage.records", "daglens.storage.errors", "daglens.access"):
        assert docstrings.members(import_module(name))
