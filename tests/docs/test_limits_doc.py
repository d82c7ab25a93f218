"""docs/limits.md: its table is the code's, and what it shows works."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import httpx
import pytest

from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.server.limit_table import LIMITS, STATEMENT, table
from daglens.server.settings import InvalidServerSetting, ServerSettings
from daglens.testing.server import serve_in_thread
from tests.docs.snippets import ROOT, marked, snippets

DOCUMENT = "docs/limits.md"


def test_the_table_is_the_codes() -> None:
    """The table is the one that the code writes, and has every limit that can be set."""
    assert table() in (ROOT / DOCUMENT).read_text(encoding="utf-8")
    settings = {field.name for field in dataclasses.fields(Limits)} - {"forwarded_by"}
    assert {limit.setting for limit in LIMITS} - {STATEMENT} == settings


def test_every_snippet_is_known_here() -> None:
    """Each block that could be run is run below."""
    marks = {snippet.mark for snippet in snippets(DOCUMENT) if snippet.language not in ("json", "text")}
    assert marks == {"limits", "cost", "forwarded", "documents", "write"} & marks
    assert {"limits", "cost", "forwarded"} <= marks


def test_the_cost_that_is_told() -> None:
    """The example costs what the page says."""
    (operation,) = marked(DOCUMENT, "cost")
    expected = next(json.loads(one.text) for one in snippets(DOCUMENT) if one.language == "json" and "cost" in one.text)
    with Instance.ephemeral() as instance, serve_in_thread(instance) as server:
        body = {"query": operation.text, "extensions": {"cost": True}}
        answer = httpx.post(f"{server.url}/graphql", json=body, timeout=60).json()
        assert answer["extensions"] == expected
        del body["extensions"]
        assert "extensions" not in httpx.post(f"{server.url}/graphql", json=body, timeout=60).json()


def settings_of(text: str, folder: Path, *limits: str) -> Limits:
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")
    with Instance.open(home=folder) as instance:
        return ServerSettings.of(instance.settings, limits=limits).limits


def test_the_files_that_are_shown(tmp_path: Path) -> None:
    """They set what they seem to set, and the flags do the same; a wrong one is a sentence."""
    (shown,) = marked(DOCUMENT, "limits")
    expected = dataclasses.replace(Limits(), max_depth=30, max_cost=1_000_000, max_connections=0)
    assert settings_of(shown.text, tmp_path) == expected
    flags = "max_depth=30", "max_cost=1000000", "max_connections=0"
    assert settings_of("{}", tmp_path, *flags) == expected
    (shown,) = marked(DOCUMENT, "forwarded")
    assert settings_of(shown.text, tmp_path).forwarded_by == ("10.0.0.0/8",)
    for wrong, said in {
        "max_dept=3": "max_depth",
        "max_page=3": "max_cost",
        "max_depth=-1": "from 0",
        "max_depth=x": "integer",
        "max_depth": "integer",
    }.items():
        with pytest.raises(InvalidServerSetting, match=said):
            settings_of("{}", tmp_path, wrong)
