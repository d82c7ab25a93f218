"""docs/postgres.md: what it shows works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daglens.config.load import load_config
from tests.docs.snippets import ROOT, marked, snippets
from tests.storages.postgres_server import PostgresServer, drop, postgres

__all__ = ["postgres"]

DOCUMENT = "docs/postgres.md"

# By tests/migrations/test_postgres_schema.py and tests/storages/test_postgres_limits.py, on a server.
TESTED_ELSEWHERE = ["rights", "partitions"]


def test_every_block_is_tested() -> None:
    """No block of the document is without a mark that a test takes up."""
    marks = [snippet.mark for snippet in snippets(DOCUMENT)]
    assert sorted(marks, key=str) == sorted(["yaml", "migrate", *TESTED_ELSEWHERE])


def test_yaml_loads(tmp_path: Path) -> None:
    """The configuration names both storages."""
    (yaml,) = marked(DOCUMENT, "yaml")
    (tmp_path / "dagster.yaml").write_text(yaml.text, encoding="utf-8")
    config = load_config(tmp_path / "dagster.yaml", tmp_path)
    classes = [config.sections[name].class_name for name in ("run_storage", "event_log_storage")]
    assert classes == ["PostgresRunStorage", "PostgresEventLogStorage"]


@pytest.fixture
def env(postgres: PostgresServer, tmp_path: Path) -> dict[str, str]:
    """An instance on an empty database, and `daglens` on the path as an installation has it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        f"storage: {{postgres: {{postgres_url: '{postgres.url}', should_autocreate_tables: false}}}}\n"
    )
    script = tmp_path / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"DAGSTER_HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT)}


def test_commands(postgres: PostgresServer, env: dict[str, str]) -> None:
    """In the order in which they stand: set up, nothing to do any more, nothing to print."""
    (shell,) = marked(DOCUMENT, "migrate")
    try:
        done = subprocess.run(
            ["sh", "-euc", shell.text], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0
        (said,) = done.stderr.splitlines()
        assert said.endswith("up to date; there are no statements to run.")
        set_up, checked = done.stdout.splitlines()
        assert "was not set up, now at revision" in set_up
        assert "up to date" in checked
    finally:
        drop(postgres, ["daglens"])
