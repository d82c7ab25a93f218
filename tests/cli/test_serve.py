"""`daglens serve` as a program: each of its options does what it says."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.cli.conftest import Command

Start = Callable[..., str]
QUERY = {"query": "{ instance { info } runsOrError { ... on RunPage { nodes { runId } } } }"}


@pytest.fixture
def start(filled: Command) -> Iterator[Start]:
    """Starts servers on free ports and gives their addresses. They end with the test, by Ctrl-C, with exit code 0."""
    started: list[Any] = []

    def begin(*options: str, port: str = "0") -> str:
        program: Any = filled.start("serve", "--port", port, *options)
        started.append(program)
        lines = [program.stdout.readline(), program.stdout.readline()]
        assert lines[0].startswith("Serving "), [*lines, program.stderr.read()]
        return str(lines[1].split()[1])

    yield begin
    for program in started:
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=60)
        assert (program.returncode, "Traceback" in err) == (0, False), err


def runs(url: str) -> list[str]:
    """Ids of the runs that a server shows."""
    answer = httpx.post(f"{url}/graphql", json=QUERY, timeout=60).json()
    return [node["runId"] for node in answer["data"]["runsOrError"]["nodes"]]


def test_the_instance_that_is_served(start: Start, filled: Command, tmp_path: Any) -> None:
    """DAGSTER_HOME's instance by default; --instance-home another; --ephemeral an empty one. All on loopback."""
    url = start()
    assert url.startswith("http://127.0.0.1:")
    assert runs(url) == ["open", "bad", "good"]
    assert runs(start("--instance-home", str(tmp_path / "other"))) == []
    assert runs(start("--ephemeral")) == []


def test_who_may_ask(start: Start) -> None:
    """--allowed-host and --allowed-origin let in those they name, each of several, and nobody else."""
    url = start(
        "--allowed-host", "lens.example", "--allowed-host", "other.example", "--allowed-origin", "https://app.example"
    )
    for host, code in (("lens.example", 200), ("other.example", 200), ("evil.example", 403)):
        assert httpx.get(f"{url}/healthz", headers={"host": host}).status_code == code
    for origin, code in (("https://app.example", 200), ("https://evil.example", 403)):
        answer = httpx.post(f"{url}/graphql", json=QUERY, headers={"origin": origin}, timeout=60)
        assert answer.status_code == code
        assert answer.headers.get("access-control-allow-origin") == (origin if code == 200 else None)


def test_behind_a_prefix(start: Start) -> None:
    """--path-prefix: the routes are below it."""
    url = start("--path-prefix", "/daglens").removesuffix("/daglens")
    assert httpx.get(f"{url}/daglens/healthz").json() == {"status": "ok"}
    assert runs(f"{url}/daglens") == ["open", "bad", "good"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--port", "65536"), "65535"),
        (("--port", "nonesuch"), "integer"),
        (("--host", "0.0.0.0"), "--insecure"),
        (("--allowed-origin", "app.example"), "app.example"),
        (("--path-prefix", "no slash?"), "prefix"),
        (("--ephemeral", "--instance-home", "/tmp"), "ephemeral"),
        (("--documents", "nonesuch.json"), "daglens documents write"),
        (("--nonesuch",), "No such option"),
    ],
)
def test_options_that_are_wrong(command: Command, options: tuple[str, ...], sentence: str) -> None:
    """What can't be meant is refused with exit code 2 and a sentence, not with a traceback."""
    # Nobody knows what else listens on this machine.
    answer = command("serve", *(() if "--port" in options else ("--port", "0")), *options)
    assert answer.code == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err


def test_an_error_id_is_in_the_log(command: Command) -> None:
    """The errorId that a client was given stands in what the server says, beside what went wrong."""
    program = command.start("serve", "--port", "0")
    assert program.stdout is not None
    url = next(word for line in program.stdout for word in line.split() if word.startswith("http://"))
    answer = httpx.post(f"{url}/graphql", json={"query": "{ nothingLikeIt }"}, timeout=60).json()
    error_id = answer["errors"][0]["extensions"]["errorId"]
    program.send_signal(signal.SIGTERM)
    _, said = program.communicate(timeout=60)
    assert any(error_id in line and "GRAPHQL_VALIDATION_FAILED" in line for line in said.splitlines())
