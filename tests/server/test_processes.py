"""Several processes on one SQLite file, and the server as a program."""

from __future__ import annotations

import json
import os
import signal
import socket as sockets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from daglens.instance import Instance
from daglens.server.serve import AddressInUse, listen
from daglens.testing.server import LiveServer
from tests.server.conftest import EVENTS, LEGACY, TRANSPORT, Serve, create, opened, write

WRITER = Path(__file__).with_name("writer.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """An instance in files, which other processes open too."""
    with Instance.open(home=tmp_path / "home") as opened_instance:
        yield opened_instance


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_other_processes_write(server: LiveServer, instance: Instance) -> None:
    """Three other processes write to one run; every subscriber here sees every event once, in order."""
    create(instance)
    with opened(server, TRANSPORT) as first, opened(server, LEGACY) as second:
        for socket in (first, second):
            socket.start(EVENTS, variables={"runId": "run"})
            socket.result()
        command = [sys.executable, str(WRITER), str(instance.home), "run", "100"]
        writers = [subprocess.Popen(command, env=child_environment(), stdout=subprocess.DEVNULL) for _ in range(3)]
        assert [writer.wait() for writer in writers] == [0, 0, 0]
        write(instance, 1, event_type="RUN_SUCCESS")
        for socket in (first, second):
            batches = [payload["data"]["runEvents"]["events"] for payload in socket.results()]
            assert [event["seq"] for batch in batches for event in batch] == list(range(1, 302))


def test_two_servers(serve: Serve, instance: Instance) -> None:
    """What one server is told, the subscribers of another see; a cursor of one continues on the other."""
    with Instance.open(home=instance.home) as other_instance:
        here, there = serve(), serve(other_instance)
        create(instance)
        with opened(here) as socket:
            socket.start(EVENTS, variables={"runId": "run"})
            socket.result()
            write(other_instance, 7)
            got: list[int] = []
            while len(got) < 7:
                batch = socket.result()["data"]["runEvents"]
                got += [event["seq"] for event in batch["events"]]
        write(instance, 3)
        with opened(there) as socket:
            socket.start(EVENTS, variables={"runId": "run", "after": batch["cursor"]})
            while len(got) < 10:
                got += [event["seq"] for event in socket.result()["data"]["runEvents"]["events"]]
        assert got == list(range(1, 11))


@contextmanager
def program(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`daglens serve` as a program, and its address."""
    command = [sys.executable, "-m", "daglens.cli", "serve", "--port", "0", "--instance-home", str(home), *options]
    with subprocess.Popen(
        command,
        env={**child_environment(), "PYTHONUNBUFFERED": "1"},  # only so that its first line is seen at once
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home.parent,
    ) as process:
        try:
            assert process.stdout is not None
            words = (word for line in process.stdout for word in line.split())
            yield process, next(word for word in words if word.startswith("http://"))
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_stopping_drains(instance: Instance, sign: signal.Signals) -> None:
    """Asked to end, the server answers the long poll that is waiting, closes sockets to be opened again elsewhere, and
    ends well."""
    create(instance)
    write(instance, 2)
    with program(instance.home) as (process, url), httpx.Client(base_url=url, timeout=60) as http:
        page = http.post(
            "/graphql", json={"query": '{ runEventsOrError(runId: "run") { ... on EventPage { cursor } } }'}
        )
        cursor = page.json()["data"]["runEventsOrError"]["cursor"]
        query = f'{{ runEventsOrError(runId: "run", waitSeconds: 25, after: "{cursor}") {{ __typename }} }}'
        with opened(LiveServer(url, None, None)) as socket, connection_to(url) as poll:  # type: ignore[arg-type]
            socket.start(EVENTS, variables={"runId": "run"})
            socket.result()
            body = json.dumps({"query": query}).encode()
            head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            poll.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            # What is sent after it and answered shows that the server has begun with it.
            assert http.get("/healthz").status_code == 200
            process.send_signal(sign)
            answer = b"".join(iter(lambda: poll.recv(65536), b""))
            assert socket.close_code() == 1012
        assert process.wait() == 0
        assert answer.endswith(b'{"data":{"runEventsOrError":{"__typename":"EventPage"}}}')


def connection_to(url: str) -> sockets.socket:
    """A plain connection."""
    host, port = url.removeprefix("http://").split(":")
    return sockets.create_connection((host, int(port)))


def test_starting_where_it_cannot(tmp_path: Path) -> None:
    """A port in use and an open address are refused with a sentence that says what to do, not with a traceback."""
    listening = listen("127.0.0.1", 0)
    try:
        port = str(listening.getsockname()[1])
        for options, words in ((["--port", port], "in use"), (["--host", "0.0.0.0"], "--insecure")):
            done = subprocess.run(
                [sys.executable, "-m", "daglens.cli", "serve", "--instance-home", str(tmp_path), *options],
                env=child_environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode != 0
            assert words in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        listening.close()
    with pytest.raises(AddressInUse):
        listen("no-such-host.invalid", 0)


def test_start_is_lean() -> None:
    """Serving an instance in memory loads neither SQLAlchemy nor Alembic, nor the parts that check a configuration."""
    code = """
import sys
from daglens.instance import Instance
from daglens.server.app import create_app
from daglens.server import serve
with Instance.ephemeral() as instance:
    create_app(instance)
print([name for name in ("sqlalchemy", "alembic", "pydantic", "psycopg2", "rich", "pytest") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
