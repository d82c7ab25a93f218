"""The seed example: a run storage by somebody else, named in dagster.yaml with a secret, served over HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plugins.installing import AWESOME, install
from tests.recorder.conftest import environment
from tests.server.conftest import TRANSPORT, Socket

SECRET = "quux"
YAML = """\
run_storage:
  module: {module}
  class: {class_name}
  config:
    secret_word: "quux"
"""
# As careless code would: what it was configured with is in what it raises.
LEAKY = """\
from my_very_awesome_module.run_storage import AwesomeRunStorage

class LeakyRunStorage(AwesomeRunStorage):
    def _refused(self, *args, **kwargs):
        raise RuntimeError(f"awesome://me:{self.secret_word.reveal()}@host refused: {args} {kwargs}")

    add = get = page = count = changes = health = tag_keys = project = add_tags = heartbeat = _refused
"""
RUNS = "{ runsOrError { __typename ... on RunPage { nodes { runId pipelineName tags { key value } } } } }"
STORAGE = "{ module className config healthy problem }"
INSTANCE = f"{{ instance {{ origin home info runStorage {STORAGE} eventLogStorage {STORAGE} }} }}"
CREATE = 'mutation { createRun(input: { runId: "r1", pipelineName: "nightly" }) { __typename } }'
WATCH = 'subscription { runEvents(runId: "r1") { __typename ... on Error { code message } } }'


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from, where the plug-in is installed by pip, and one that leaks beside it."""
    folder = install(AWESOME, tmp_path_factory.mktemp("site-packages"))
    (folder / "leaky.py").write_text(LEAKY)
    return folder


class Served:
    """`daglens serve` as a program of its own.

    Attributes:
        told: All that its clients and its terminal have got to see.
    """

    def __init__(self, home: Path, plugins: Path) -> None:
        self.home = home
        self.env = environment(home)
        self.env["PYTHONPATH"] += f":{plugins}"
        self.told = ""
        self._program = self._start("serve", "--port", "0")
        assert self._program.stdout is not None
        lines = [self._program.stdout.readline() for _ in range(2)]
        self.told += "".join(lines)
        self.url = lines[1].split()[1]

    def _start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "daglens.cli", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def ask(self, query: str) -> Any:
        """Answer of a GraphQL request by POST."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query}, timeout=60)
        self.told += answer.text + str(answer.headers)
        return answer.json()

    def get(self, path: str) -> httpx.Response:
        """Answer of any route."""
        answer = httpx.get(self.url + path, timeout=60)
        self.told += answer.text + str(answer.headers)
        return answer

    def subscribe(self, query: str) -> dict[str, Any]:
        """The first message of a subscription."""
        from websockets.sync.client import connect

        address = f"ws{self.url.removeprefix('http')}/graphql"
        with connect(address, subprotocols=[TRANSPORT], proxy=None) as connection:  # type: ignore[list-item]
            socket = Socket(connection, TRANSPORT)
            socket.init()
            socket.start(query)
            message = socket.receive()
        self.told += str(message)
        return message

    def run(self, *args: str, interrupt_at: str | None = None) -> int:
        """Exit code of another `daglens` command on the same instance; Ctrl-C once it has said `interrupt_at`."""
        program = self._start(*args)
        if interrupt_at is not None:
            assert program.stderr is not None
            for line in program.stderr:
                self.told += line
                if interrupt_at in line:
                    program.send_signal(signal.SIGINT)
                    break
        out, err = program.communicate(timeout=60)
        self.told += out + err
        assert "Traceback" not in out + err
        return program.returncode

    def stop(self) -> str:
        """Ctrl-C; what it has written to its log."""
        self._program.send_signal(signal.SIGINT)
        out, err = self._program.communicate(timeout=60)
        self.told += out + err
        return err


Serve = Callable[[str, str], Served]


@pytest.fixture
def serve(tmp_path: Path, plugins: Path) -> Iterator[Serve]:
    """Starts `daglens serve` on an instance whose run storage is a class of a plug-in."""
    started = []

    def start(module: str, class_name: str) -> Served:
        home = tmp_path / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text(YAML.format(module=module, class_name=class_name))
        started.append(Served(home, plugins))
        return started[-1]

    yield start
    for served in started:
        served.stop()


def test_its_runs_are_served(serve: Serve) -> None:
    """Runs that are in the plug-in's storage are in the run list over HTTP; the instance shows its class and that it
    has a secret, and the secret shows nowhere."""
    served = serve("my_very_awesome_module.run_storage", "AwesomeRunStorage")
    assert served.ask(RUNS) == {"data": {"runsOrError": {"__typename": "RunPage", "nodes": []}}}
    assert served.ask(CREATE)["data"]["createRun"]["__typename"] == "CreateRunSuccess"
    (run,) = served.ask(RUNS)["data"]["runsOrError"]["nodes"]
    assert run == {"runId": "r1", "pipelineName": "nightly", "tags": []}

    instance = served.ask(INSTANCE)["data"]["instance"]
    assert instance["origin"] == "DAGSTER_YAML"
    assert instance["runStorage"] == {
        "module": "my_very_awesome_module.run_storage",
        "className": "AwesomeRunStorage",
        "config": {"secret_word": "***", "awesomeness": 11},
        "healthy": True,
        "problem": None,
    }
    assert "secret_word: '***'" in instance["info"]
    assert served.get("/readyz").status_code == 200
    assert served.run("instance", "info") == served.run("instance", "check") == 0
    assert served.run("record", "--pipeline", "p", "--step", "s", "--", "true") == 0
    served.stop()
    assert SECRET not in served.told


def test_what_it_raises_is_clean(serve: Serve) -> None:
    """A storage that puts its secret into all it raises: clients get an error with an id, or what is wrong without the
    secret; the log has it by that id, also without. No command shows it, and none ends with a traceback."""
    served = serve("leaky", "LeakyRunStorage")
    answer = served.ask(RUNS)
    (error,) = answer["errors"]
    assert answer["data"] in (None, {"runsOrError": None})
    assert error["extensions"]["code"] in ("INTERNAL", "STORAGE_UNAVAILABLE")
    instance = served.ask(INSTANCE)["data"]["instance"]
    assert instance["runStorage"]["healthy"] is False
    assert "The server's log says more." in instance["runStorage"]["problem"]
    assert served.ask(CREATE)["errors"]
    assert served.subscribe(WATCH)["type"] in ("next", "error")
    assert served.get("/readyz").status_code == 503
    served.get("/runs/r1/compute-logs/s/stdout")
    served.get("/runs/r1/artifacts/a")
    assert served.run("instance", "check") == 2
    assert served.run("runs", "list") == 1
    assert served.run("runs", "show", "r1") == 1
    assert served.run("run", "start", "--pipeline", "p") == 0
    assert served.run("run", "finish", "r1") == 1
    assert "daglens: Something failed that daglens did not foresee. RuntimeError: awesome://***@host" in served.told
    log = served.stop()
    assert error["extensions"]["errorId"] in log
    assert "Upkeep is tried again" in log
    assert log.count("awesome://***@host refused") > 1
    assert SECRET not in served.told


def test_recording_into_it(serve: Serve) -> None:
    """The command that is recorded runs, whatever the storage does, and the secret isn't in what is said of it."""
    served = serve("leaky", "LeakyRunStorage")
    command = ["record", "--pipeline", "p", "--step", "s", "--", "sh", "-c", "exit 7"]
    assert served.run(*command, interrupt_at="Ctrl-C ends the wait") == 7
    assert "Recording is behind" in served.told
    assert SECRET not in served.told
