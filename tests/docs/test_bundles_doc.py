"""docs/bundles.md: what it shows works, and its table of fields is that of the lines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from daglens.bundles.exporting import export_file
from daglens.bundles.importing import import_file
from daglens.instance import Instance
from daglens.storage.bundle.lines import CHUNK_BYTES, MAX_LINE_BYTES, MAX_LOGS
from daglens.storage.records import RunFilter
from tests.docs.snippets import ROOT, marked, snippets

DOCUMENT = "docs/bundles.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and `daglens` on the path as an installation has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"DAGSTER_HOME": str(tmp_path / "home"), "PATH": path, "PYTHONPATH": str(ROOT)}


def test_every_block_is_tested():
    """No block of the document is without a mark that a test here takes up."""
    assert [s.mark for s in snippets(DOCUMENT)] == ["shell", "serve", "yaml", "bundle"]


def test_commands_server_and_yaml(env, tmp_path):
    """The commands record, export and import; the server answers from the file; so does an instance with the yaml."""
    (shell,) = marked(DOCUMENT, "shell")
    done = subprocess.run(
        ["sh", "-euc", shell.text], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "nightly.ndjson: run " in done.stdout
    with Instance.open(home=tmp_path / "other") as other, Instance.open(home=tmp_path / "home") as home:
        (run,) = other.runs.page(RunFilter()).runs
        assert run.status == "SUCCESS"
        export_file(other, run.run_id, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "nightly.ndjson").read_bytes()
        assert home.run(run.run_id) is not None

    (serve,) = marked(DOCUMENT, "serve")
    # A port that is free, in place of the one that a reader has.
    server = subprocess.Popen(
        ["sh", "-c", f"exec {serve.text.strip()} --port 0"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(60, server.kill)
    watchdog.start()
    try:
        assert server.stdout is not None
        assert "read-only" in server.stdout.readline()
        url = server.stdout.readline().split()[1]
        query = {"query": "{runsOrError{... on RunPage{nodes{runId}}}}"}
        answer = httpx.post(f"{url}/graphql", json=query, timeout=30).json()
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
        watchdog.cancel()
    assert answer == {"data": {"runsOrError": {"nodes": [{"runId": run.run_id}]}}}

    (yaml,) = marked(DOCUMENT, "yaml")
    (tmp_path / "dagster.yaml").write_text(yaml.text)
    with Instance.open(home=tmp_path) as instance:
        assert instance.run(run.run_id) is not None


def test_the_bundle_shown_is_sound(tmp_path):
    """It can be imported, and comes out again byte for byte."""
    (bundle,) = marked(DOCUMENT, "bundle")
    path = tmp_path / "shown"
    path.write_text(bundle.text, encoding="utf-8")
    with Instance.ephemeral() as instance:
        done = import_file(instance, path)
        assert (done.events, done.logs, done.log_bytes) == (4, 1, 12)
        export_file(instance, done.run_id, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_every_field_is_told():
    """The table has each field of each line, under its line, and no other."""
    (bundle,) = marked(DOCUMENT, "bundle")
    lines = [json.loads(line) for line in bundle.text.splitlines()[1:]]
    fields = {kind: set(value) for line in lines for kind, value in line.items() if kind != "bytes"}
    told: dict[str, set[str]] = {}
    kind = ""
    for match in re.finditer(r"^\| (?:`(\w+)` )?\| ((?:`\w+`(?:, )?)+) \|", TEXT, re.M):
        kind = match[1] or kind
        told.setdefault(kind, set()).update(re.findall(r"`(\w+)`", match[2]))
    assert told == fields


def test_the_bounds_are_those_of_the_code():
    """Sizes and counts named in the document."""
    for bound in (MAX_LINE_BYTES, CHUNK_BYTES, MAX_LOGS):
        assert re.search(rf"\b{bound:,}\b", TEXT)
