"""The servers that the HTTP benchmarks ask, each a process of its own, and the clients that ask them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import QUIET, Homes

HERE = Path(__file__).parent
PATIENCE_S = 60.0
CLIENTS = 8


@dataclass(frozen=True)
class Address:
    """A server that answers.

    Attributes:
        name: What it is called in a table.
    """

    name: str
    port: int
    pid: int


@contextlib.contextmanager
def daglens(homes: Homes) -> Iterator[Address]:
    """`daglens serve` of this environment."""
    command = [sys.executable, "-m", "daglens.cli", "serve", "--instance-home", str(homes.daglens), "--port", "0"]
    with _announced("daglens", command) as address:
        yield address


@contextlib.contextmanager
def floor(homes: Homes) -> Iterator[Address]:
    """The bare application."""
    place = homes.database if homes.database is not None else str(homes.sqlite_file)
    command = [sys.executable, str(HERE / "http_floor.py"), homes.backend, place]
    with _announced("floor", [*command, str(homes.daglens), str(homes.runs)]) as address:
        yield address


@contextlib.contextmanager
def peer(python: str, homes: Homes, *, pinned: bool) -> Iterator[Address]:
    """The peer's web server, free or on one core: it is faster there, its threads then get in each other's way less."""
    assert homes.peer is not None
    port = free_port()
    command = [python, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "--empty-workspace"]
    if pinned:
        command = ["taskset", "-c", "0", *command]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=homes.peer,
        env=os.environ | QUIET | {"DAGSTER_HOME": str(homes.peer)},
    )
    try:
        wait_for(port, process)
        yield Address("peer, one core" if pinned else "peer", port, process.pid)
    finally:
        process.terminate()
        process.wait()


def can_pin() -> bool:
    """Whether a process can be kept on one core, and there are more."""
    return shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1


@contextlib.contextmanager
def _announced(name: str, command: Sequence[str]) -> Iterator[Address]:
    """A server that prints its address."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "http://127.0.0.1:" in line:
                port = int(line.partition("http://127.0.0.1:")[2].split()[0].partition("/")[0])
                break
        else:
            raise RuntimeError(f"{' '.join(command)} ended without an address.")
        yield Address(name, port, process.pid)
    finally:
        process.terminate()
        process.communicate()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    """Wait until a process listens.

    Raises:
        RuntimeError: It ended, or a minute has passed.
    """
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"No server answered at port {port}.")


def get(path: str) -> str:
    """A GET request, whole."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def post(document: str, variables: Any) -> str:
    """A GraphQL request, whole; its text is ASCII."""
    body = json.dumps({"query": document, "variables": variables})
    head = "POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def ask(address: Address, request: str) -> Any:
    """The answer to one request, parsed.

    Raises:
        RuntimeError: It is no success, or has GraphQL errors.
    """
    try:
        connection = socket.create_connection(("127.0.0.1", address.port), timeout=PATIENCE_S)
    except OSError as error:
        raise RuntimeError(f"{address.name}, process {address.pid}, takes no connections any more: {error}") from None
    with connection:
        connection.sendall(request.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        text = response.read()
    answer = json.loads(text)
    if response.status != 200 or (isinstance(answer, dict) and answer.get("errors")):
        raise RuntimeError(f"{address.name}: {response.status} {text[:2000]!r}")
    return answer


class Load:
    """The process of all clients."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "http_load.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self, address: Address, request: str, seconds: float, clients: int = CLIENTS) -> dict[str, float]:
        """What so many clients saw in so long."""
        assert self._process.stdin is not None and self._process.stdout is not None
        command = {
            "host": "127.0.0.1", "port": address.port, "request": request, "clients": clients, "seconds": seconds,
        }  # fmt: skip
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The clients of {address.name} ended; standard error says why.")
        found: dict[str, float] = json.loads(line)
        return found
