"""docs/recorder.md: what it shows works."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import daglens
from daglens.instance import Instance
from daglens.recorder import StepEvents
from daglens.storage.records import RunFilter, RunRecord
from daglens.testing.server import serve_in_thread
from tests.docs.snippets import ROOT, Snippet, marked, snippets

DOCUMENT = "docs/recorder.md"
MARKS = {"python": ("python", "body", "program", "server"), "sh": ("shell", "server shell")}
ADDRESS = "https://lens.example.org"


def ids(found: list[Snippet]) -> list[str]:
    return [f"line {snippet.line}" for snippet in found]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and `daglens` on the path as an installation has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    dropped = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DAGLENS_RUN_ID")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return kept | {"DAGSTER_HOME": str(tmp_path / "home"), "PATH": path, "PYTHONPATH": str(ROOT)}


def run_program(argv: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def recorded(env: dict[str, str]) -> list[tuple[RunRecord, list[str]]]:
    """Runs and the keys of their steps, oldest first."""
    with Instance.open(home=env["DAGSTER_HOME"]) as instance:
        runs = instance.runs.page(RunFilter(), newest_first=False).runs
        steps = instance.events.steps([run.run_id for run in runs])
        return [(run, [step.step_key for step in steps[run.run_id]]) for run in runs]


def test_every_block_is_tested():
    """No block of the document is without a mark that a test here takes up."""
    for snippet in snippets(DOCUMENT):
        assert snippet.mark in MARKS[snippet.language], f"{DOCUMENT}:{snippet.line}"


@pytest.mark.parametrize("snippet", found := marked(DOCUMENT, "python") + marked(DOCUMENT, "program"), ids=ids(found))
def test_programs(snippet, env, tmp_path):
    """A whole program records one run that ends well."""
    script = tmp_path / "pipeline.py"
    script.write_text(snippet.text)
    run_program([sys.executable, str(script)], env)
    ((run, steps),) = recorded(env)
    assert run.status == "SUCCESS"
    assert steps


@pytest.mark.parametrize("snippet", found := marked(DOCUMENT, "body"), ids=ids(found))
def test_blocks_within_a_run(snippet):
    """A block that uses `run` works within a run, and leaves something behind."""
    with Instance.ephemeral() as instance:
        with daglens.start_run("nightly", instance=instance) as run:
            names: dict[str, Any] = {"daglens": daglens, "run": run}
            exec(compile(snippet.text, DOCUMENT, "exec"), names)
        head = instance.events.heads([run.run_id])[run.run_id]
        assert head.last_seq > 2 or instance.artifacts.list(run.run_id).artifacts
        assert head.state.status == "SUCCESS"


def test_shell(env):
    """The command makes a run of one step, the script one of two."""
    for snippet in marked(DOCUMENT, "shell"):
        run_program(["sh", "-euc", snippet.text], env)
    (one, one_steps), (two, two_steps) = recorded(env)
    assert (one.status, one.tags, one_steps) == ("SUCCESS", (("team", "core"),), ["extract"])
    assert (two.status, two_steps) == ("SUCCESS", ["extract", "load"])


def test_recording_to_a_server(env, tmp_path):
    """The program and the commands record over a server what they would record to an instance."""
    env = env | {"DAGLENS_SPOOL": str(tmp_path / "spool")}
    del env["DAGSTER_HOME"]
    home = tmp_path / "served"
    with Instance.open(home=home) as instance, serve_in_thread(instance) as server:
        for snippet in marked(DOCUMENT, "server"):
            script = tmp_path / "pipeline.py"
            script.write_text(snippet.text.replace(ADDRESS, server.url))
            run_program([sys.executable, str(script)], env)
        for snippet in marked(DOCUMENT, "server shell"):
            run_program(["sh", "-euc", snippet.text.replace(ADDRESS, server.url)], env)
    found = recorded({"DAGSTER_HOME": str(home)})
    assert [(run.status, steps) for run, steps in found] == [
        ("SUCCESS", ["extract"]),
        ("SUCCESS", ["extract"]),
        ("SUCCESS", ["load"]),
    ]


def test_names_exist():
    """What the document calls `daglens.X`, `run.x` and `step.x` is there, with the arguments it names."""
    text = (ROOT / DOCUMENT).read_text()
    for name in set(re.findall(r"daglens\.([a-zA-Z]\w+)", text)) - {"md"}:
        assert hasattr(daglens, name), name
    for owner, kind in (("run", daglens.Run), ("step", StepEvents)):
        for name in set(re.findall(rf"`{owner}\.(\w+)[(.]", text)):
            assert hasattr(kind, name), f"{owner}.{name}"
    for name, arguments in re.findall(r"`step\.(\w+)\(([\w, ]+)\)`", text):
        taken = list(inspect.signature(getattr(StepEvents, name)).parameters)[1:]
        assert set(arguments.split(", ")) <= set(taken), name
