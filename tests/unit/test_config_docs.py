"""docs/configuration.md and docs/errors tell every key, class, section and error code, and their examples work."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daglens.config.aliases import ALIASES, ORCHESTRATOR_SECTIONS, Ours, Unified
from daglens.config.load import load_config
from daglens.config.plugins import CONTRACTS
from daglens.config.problems import ConfigError, ProblemCode
from daglens.config.redaction import shown
from daglens.config.sections import TOP_LEVEL
from daglens.config.settings import Settings
from tests.plugins.installing import AWESOME

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]*)` \| (.+) \|$", re.MULTILINE)


def rows(text: str) -> dict[str, str]:
    """Keys of the tables in a part of the page, with the default that the page tells."""
    return {match[1]: match[2] for match in ROW.finditer(text)}


def as_told(value: Any) -> Any:
    """A default as it is written in the page, read back."""
    return yaml.safe_load(value)


def settings_keys(settings: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings_keys(value, f"{prefix}.{field.name}")
        else:
            yield f"{prefix}.{field.name}", shown(value)


def test_every_setting_is_told_with_its_default():
    """Each key below `daglens:` has a row with its default, and no row is of a key that isn't there."""
    part = PAGE[PAGE.index("## Settings") : PAGE.index("## Dagster's files")]
    told = rows(part)
    assert {key: as_told(default) for key, default in told.items()} == dict(settings_keys(Settings(), "daglens"))


def shipped() -> list[str]:
    return sorted({f"{answer.module}.{answer.class_name}" for answer in ALIASES.values() if isinstance(answer, Ours)})


@pytest.mark.parametrize("path", shipped())
def test_every_key_of_a_shipped_storage_is_told_with_its_default(path):
    """Each class has a heading, and below it a row for each key of its Config."""
    sections = [part for part in re.split(r"^### ", PAGE, flags=re.MULTILINE) if path in part.splitlines()[0]]
    assert len(sections) == 1
    module, _, name = path.rpartition(".")
    config = getattr(importlib.import_module(module), name).Config
    # Not of an instance: a Config may need one of two keys.
    expected = {field.name: shown(field.default) for field in dataclasses.fields(config)}
    told = rows(re.split(r"^## ", sections[0], flags=re.MULTILINE)[0])
    assert {key: as_told(default) for key, default in told.items()} == expected
    assert bool(expected) is ("no configuration" not in sections[0].split("\n## ")[0])


def test_every_section_is_told():
    """The six that are read have a row with their default; those that are ignored are listed, and no others."""
    for name in TOP_LEVEL:
        assert f"| `{name}` |" in PAGE
    ignored = PAGE[PAGE.index("Sections that only an orchestrator needs are ignored") :]
    assert set(re.findall(r"`([a-z_]+)`", ignored)) == ORCHESTRATOR_SECTIONS


def test_every_class_of_dagsters_is_told():
    """Each name in the table of aliases is in the page's."""
    for package, name in ALIASES:
        assert re.search(rf"`{package}`:[^|]*`{name}`", PAGE), name
    for unified in {answer.key for answer in ALIASES.values() if isinstance(answer, Unified)} | {"custom"}:
        assert f"`{unified}`" in PAGE


def test_every_error_code_has_a_page_and_a_row():
    """No code without a page that says why and what to do, and no page without a code."""
    codes = {code.value for code in ProblemCode} | {ConfigError.code}
    assert {path.stem for path in (DOCS / "errors").glob("CONFIG_*.md")} == codes
    for code in codes:
        page = (DOCS / "errors" / f"{code}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {code}\n")
        assert "\n## Why\n" in page
        assert "\n## What to do\n" in page
        assert f"[{code}](errors/{code}.md)" in PAGE


def examples() -> list[tuple[str, list[str]]]:
    """Each YAML block of the page, with the problems that a text block right below it lists."""
    block = re.compile(r"^```yaml\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
    texts = [PAGE, *(path.read_text(encoding="utf-8") for path in sorted((DOCS / "errors").glob("CONFIG_*.md")))]
    return [(match[1], (match[2] or "").splitlines()) for text in texts for match in block.finditer(text)]


@pytest.mark.parametrize(("text", "problems"), examples())
def test_every_example_does_what_it_says(text, problems, tmp_path, monkeypatch):
    """A YAML block is a whole dagster.yaml that loads, or has exactly the problems that are listed below it."""
    monkeypatch.syspath_prepend(AWESOME)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "word.txt").write_text("quux\n")
    path = tmp_path / "dagster.yaml"
    path.write_text(text, encoding="utf-8")
    found: list[str] = []
    try:
        config = load_config(path, tmp_path, environ={"AWESOMENESS": "7"})
    except ConfigError as refused:
        found = [str(problem) for problem in refused.problems]
    else:
        assert list(config.sections) == list(CONTRACTS)
    assert found == problems


def test_links_lead_somewhere():
    """Each relative link of the pages is a file, and each anchor a heading."""
    for page in [DOCS / "configuration.md", *(DOCS / "errors").glob("CONFIG_*.md")]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = target.partition("#")
            linked = (page.parent / name) if name else page
            assert linked.is_file(), f"{page.name}: {target}"
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in slugs, f"{page.name}: {target}"
