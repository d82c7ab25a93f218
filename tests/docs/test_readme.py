"""The README: what it shows works."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from daglens.config.load import load_config
from daglens.instance import Instance
from tests.docs.snippets import ROOT, marked, snippets

README = "README.md"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home of its own, and `daglens` on the path as an installation has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"DAGSTER_HOME": str(tmp_path / "home"), "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def home(env: dict[str, str]) -> Path:
    """The folder of the instance that the snippets write to."""
    return Path(env["DAGSTER_HOME"])


def run_shell(text: str, env: dict[str, str]) -> str:
    """Run lines as a shell does, stopping at the first that fails; what they printed."""
    done = subprocess.run(
        ["sh", "-eu", "-c", text],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(text: str, env: dict[str, str]) -> None:
    """Run a program."""
    done = subprocess.run(
        [sys.executable, "-c", text], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def statuses(home: Path) -> dict[str, list[str]]:
    """Step keys of each run that ended well, by pipeline."""
    from daglens.storage.records import RunFilter

    with Instance.open(home=home) as instance:
        runs = instance.runs.page(RunFilter()).runs
        assert {run.status for run in runs} == {"SUCCESS"}
        steps = instance.events.steps([run.run_id for run in runs])
        return {run.run_id: [step.step_key for step in steps[run.run_id]] for run in runs}


def test_recording_from_python(env: dict[str, str], home: Path):
    """The Python example records a run of two steps, with output, a materialization and an expectation."""
    for snippet in marked(README, "python"):
        run_python(snippet.text, env)
    ((run_id, steps),) = statuses(home).items()
    assert steps == ["extract", "load"]
    with Instance.open(home=home) as instance:
        head = instance.events.heads([run_id])[run_id]
        assert (head.counts.materializations, head.counts.expectations) == (1, 1)


def test_recording_from_a_shell(env: dict[str, str], home: Path):
    """One command makes a run of one step; the script makes one run of two."""
    for snippet in marked(README, "shell"):
        run_shell(snippet.text, env)
    assert sorted(statuses(home).values()) == [["extract"], ["extract", "load"]]


def test_commands(env: dict[str, str]):
    """Each command of the terminal example works on what was recorded."""
    run_python(marked(README, "python")[0].text, env)
    printed = run_shell("\n".join(s.text for s in marked(README, "commands")), env)
    assert "extract" in printed


def test_yaml(env: dict[str, str], tmp_path: Path):
    """The dagster.yaml loads, with its variable looked up."""
    (snippet,) = marked(README, "yaml")
    (tmp_path / "dagster.yaml").write_text(snippet.text)
    config = load_config(tmp_path / "dagster.yaml", tmp_path, environ={"HISTORY_DIR": str(tmp_path / "history")})
    for storage in config.build().values():
        assert storage.health().healthy
        storage.close()
    assert (tmp_path / "history").is_dir()


@pytest.fixture
def server(env: dict[str, str]) -> Iterator[str]:
    """The address of a server on what the Python example and a failing run recorded."""
    run_python(marked(README, "python")[0].text, env)
    failing = """if True:
        import os, daglens
        with daglens.start_run("bad") as run, run.step("s"):
            os.write(2, b"no disk")
            raise ValueError("no orders")"""
    subprocess.run([sys.executable, "-c", failing], env=env, capture_output=True, timeout=120, check=False)
    command = [sys.executable, "-u", "-m", "daglens.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        yield next(word for line in program.stdout for word in line.split() if word.startswith("http://"))
        program.terminate()


def test_query(server: str):
    """The first query says what failed, with its error and the last lines that it printed."""
    (snippet,) = marked(README, "query")
    answer = httpx.post(f"{server}/graphql", json={"query": snippet.text}).json()
    assert "errors" not in answer
    (run,) = answer["data"]["runsOrError"]["nodes"]
    errors = [event["error"]["message"] for event in run["events"]["nodes"] if "error" in event]
    assert errors == ["no orders"]
    assert [log["stderr"]["tailOrError"]["data"] for log in run["computeLogs"]] == ["no disk"]


def test_subscription(server: str):
    """The first subscription delivers the run's events from the first to the end."""
    (snippet,) = marked(README, "subscription")
    answer = httpx.post(f"{server}/graphql", json={"query": "{ runsOrError { ... on RunPage { nodes { runId } } } }"})
    run_id = answer.json()["data"]["runsOrError"]["nodes"][0]["runId"]
    events = asyncio.run(_subscribe(server.replace("http", "ws") + "/graphql", snippet.text, run_id))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["eventType"] in {"RUN_SUCCESS", "RUN_FAILURE"}


async def _subscribe(url: str, query: str, run_id: str) -> list[dict[str, object]]:
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    events = []
    async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        payload = {"query": query, "variables": {"runId": run_id}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "complete":
                break
            if message["type"] == "next":
                events += message["payload"]["data"]["runEvents"]["events"]
    return events


def test_every_block_is_tested():
    """A block without a mark is one of those that only name what other tests run."""
    only_named = [s.text for s in snippets(README) if s.mark is None]
    assert all(text.startswith(("make demo", "daglens serve")) for text in only_named)


def test_every_link_leads_somewhere():
    """Links and pictures of the README are in the project."""
    text = (ROOT / README).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
