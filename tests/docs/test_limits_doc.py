"""docs/limits.md: its table is the code's, and what it shows works."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from daglens.config.settings import Limits
from daglens.instance import Instance
from daglens.server.documents import read_manifest
from daglens.server.gatekeeping import documents_file
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
    assert marks == {"limits", "cost", "forwarded", "documents", "write"}


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


def test_trusted_documents(tmp_path: Path) -> None:
    """The command writes a manifest, and the file that names it is taken."""
    shutil.copytree(ROOT / "tests/contract/operations", tmp_path / "frontend/operations")
    (shown,) = marked(DOCUMENT, "write")
    program, *arguments = shown.text.split()
    assert program == "daglens"
    command = [sys.executable, "-m", "daglens.cli", *arguments]
    for more in ([], ["--check"]):
        subprocess.run([*command, *more], cwd=tmp_path, check=True, timeout=120, capture_output=True)
    (shown,) = marked(DOCUMENT, "documents")
    (tmp_path / "dagster.yaml").write_text(shown.text, encoding="utf-8")
    with Instance.open(home=tmp_path) as instance:
        settings = ServerSettings.of(instance.settings)
        assert settings.documents_mode == "log"
        file = documents_file(instance, settings.documents)
        assert file == tmp_path / "documents.json"
        assert len(read_manifest(file).by_id) > 10
    (tmp_path / "documents.json").write_text("{}")
    assert (
        subprocess.run([*command, "--check"], cwd=tmp_path, check=False, timeout=120, capture_output=True).returncode
        == 1
    )
