"""Run ids, step keys and paths that mean harm, from end to end: stored or refused, and nothing else is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

import daglens
from daglens.instance import Instance
from daglens.storage.errors import InvalidName
from daglens.testing.server import LiveServer, serve_in_thread
from tests.recorder.conftest import environment

STORED = [
    "../x",
    "../../../../../../tmp/x",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "a:b",
    "a~2",
    "s.out.complete",
    "%2e%2e%2f",
    "ünïcödé ☃ 🜁",
    "\u202egnp.exe",
    "-rf",
    " ",
    "a\nb",
    "CON",
    "é" * 255,
    "'; DROP TABLE runs; --",
    "%_",
    "${HOME}",
]
REFUSED = ["", "a\0b", "x" * 4096, "a\ud800b"]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder with the instance's in it; what lies outside the instance's is the same after the test."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    for decoy in (folder / "x", tmp_path / "x", tmp_path / "a" / "passwd"):
        decoy.write_text("not to be touched")
    before = told(tmp_path, folder / "home")
    yield folder
    assert told(tmp_path, folder / "home") == before


def told(folder: Path, without: Path) -> dict[str, str | None]:
    """All files and folders below one, with their text."""
    found = (path for path in folder.rglob("*") if path != without and without not in path.parents)
    return {str(path): path.read_text() if path.is_file() else None for path in found}


@pytest.fixture
def instance(outside: Path) -> Iterator[Instance]:
    """An instance with SQLite and files."""
    with Instance.open(home=outside / "home") as opened:
        yield opened


@pytest.fixture
def server(instance: Instance) -> Iterator[LiveServer]:
    """A server of it."""
    with serve_in_thread(instance) as served:
        yield served


RUN = """query($run: ID!, $step: String!) { runOrError(runId: $run) { __typename ... on Run {
  runId stepStats { stepKey status }
  computeLog(stepKey: $step) { stdout { downloadUrl tailOrError { ... on ComputeLogChunk { data } } } }
  artifacts { nodes { path downloadUrl } }
} } }"""


def test_recorded_and_served(server: LiveServer, instance: Instance) -> None:
    """A run and a step of each name are recorded with output and an artifact, come back over GraphQL under their own
    names, their downloads lead to their own bytes, and deleting one leaves all others."""
    for number, name in enumerate(STORED):
        with daglens.start_run("p", run_id=name, instance=instance) as run, run.step(name) as step:
            os.write(1, f"line of {number}\n".encode())
            run.artifact_path("report.txt").write_text(f"artifact of {number}")
            step.log.info("done")
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for number, name in enumerate(STORED):
            answer = http.post("/graphql", json={"query": RUN, "variables": {"run": name, "step": name}}).json()
            run = answer["data"]["runOrError"]
            assert run["runId"] == name
            assert run["stepStats"] == [{"stepKey": name, "status": "SUCCESS"}]
            stdout = run["computeLog"]["stdout"]
            assert stdout["tailOrError"]["data"] == f"line of {number}\n"
            assert http.get(stdout["downloadUrl"]).text == f"line of {number}\n"
            (artifact,) = run["artifacts"]["nodes"]
            assert http.get(artifact["downloadUrl"]).text == f"artifact of {number}"
        delete = "mutation($ids: [ID!]) { deleteRuns(filter: { runIds: $ids }) { __typename } }"
        assert "errors" not in http.post("/graphql", json={"query": delete, "variables": {"ids": STORED[:3]}}).json()
        listed = "{ runsOrError(limit: 100, order: OLDEST_FIRST) { ... on RunPage { nodes { runId } } } }"
        answer = http.post("/graphql", json={"query": listed}).json()
        assert [node["runId"] for node in answer["data"]["runsOrError"]["nodes"]] == STORED[3:]


@pytest.mark.parametrize("name", [*STORED, *REFUSED[1:3]])
def test_paths_that_lead_out(server: LiveServer, instance: Instance, name: str) -> None:
    """No route gives anything for a run, a step or a path that isn't there, however it is written."""
    with daglens.start_run("p", run_id="run", instance=instance), httpx.Client(base_url=server.url, timeout=60) as http:
        for part in {quote(name, safe=""), quote(name), name.replace("\0", "%00").replace("\n", "%0A")}:
            for path in (
                f"/runs/{part}/compute-logs/{part}/stdout",
                f"/runs/run/artifacts/{part}",
                f"/runs/{part}/artifacts/../../history/daglens.db",
                f"/runs/run/artifacts/{part}/history/daglens.db",
            ):
                answer = http.get(path)
                assert 400 <= answer.status_code < 500, path


def test_appended_over_http(server: LiveServer) -> None:
    """Clients that send such names are told what is wrong with one, or find under it what they sent."""
    create = "mutation($i: CreateRunInput!) { createRun(input: $i) { __typename ... on Error { code message } } }"
    append = "mutation($i: AppendComputeLogInput!) { appendComputeLog(input: $i) { __typename ... on Error { code } } }"
    with httpx.Client(base_url=server.url, timeout=60) as http:

        def ask(query: str, **sent: object) -> str:
            answer = http.post("/graphql", json={"query": query, "variables": {"i": sent}}).json()
            return str(next(iter(answer["data"].values()))["__typename"])

        for name in STORED:
            assert ask(create, runId=name, pipelineName=name) == "CreateRunSuccess"
            sent = {"runId": name, "stepKey": name, "ioType": "STDOUT", "offset": "0", "data": name, "complete": True}
            assert ask(append, **sent) == "AppendComputeLogSuccess"
        for name in STORED:
            part = quote(name, safe="").replace(".", "%2E")  # a client takes `..` itself for a step up
            assert http.get(f"/runs/{part}/compute-logs/{part}/stdout").content == name.encode()
        for name in REFUSED[:3]:
            assert ask(create, runId=name, pipelineName="p") == "InvalidInputError"
            assert ask(create, runId="fine", pipelineName=name) == "InvalidInputError"


def test_by_the_recorder(instance: Instance) -> None:
    """A run id that can't be one is refused before anything runs; a step key is made storable, since a pipeline
    doesn't fail because of one."""
    for name in REFUSED:
        with pytest.raises(InvalidName):
            daglens.start_run("p", run_id=name, instance=instance)
    with daglens.start_run("p", run_id="run", instance=instance) as run:
        for name in ("../x", "/etc/passwd", "a/../../x", "a\0b", ""):
            with pytest.raises(InvalidName):
                run.artifact_path(name)
        for name in REFUSED:
            with run.step(name):
                os.write(1, b"output\n")
    steps = instance.events.steps(["run"])["run"]
    assert sum(step.attempts for step in steps) == len(REFUSED)
    assert all(str(step.status) == "SUCCESS" for step in steps)


def test_by_the_command(outside: Path) -> None:
    """`daglens record`, `runs show`, `logs` and `runs delete` of such names, each as a program of its own."""

    def command(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "daglens.cli", *args],
            env=environment(outside / "home"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    for name in ("../x", "..", "a/b", "a:b\n☃"):
        done = command("record", "--pipeline", "p", "--run-id", name, "--step", name, "--", "echo", "hi")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")
        assert command("logs", name, name).stdout == "hi\n"
        assert command("runs", "show", name, "--json").returncode == 0
    assert command("runs", "delete", "--yes", "..", "../x").returncode == 0
    assert command("logs", "a/b", "a/b").stdout == "hi\n"
