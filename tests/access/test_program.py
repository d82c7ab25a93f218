"""`daglens tokens` and `daglens serve --tokens` as programs, TLS included."""

from __future__ import annotations

import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.access.conftest import bearer
from tests.api.mutations import CREATE
from tests.cli.conftest import Command, command

__all__ = ["command"]

QUERY = "/graphql?query={version}"
Start = Callable[..., "Served"]


class Served:
    """A running `daglens serve`; `said` is what it had printed on stderr at its end."""

    def __init__(self, program: subprocess.Popen[str], url: str) -> None:
        self.program = program
        self.url = url
        self.said = ""

    def end(self) -> str:
        """Ask it to end; what it said on stderr."""
        if self.program.poll() is None:
            self.program.send_signal(signal.SIGTERM)
        _, self.said = self.program.communicate(timeout=60)
        assert self.program.returncode == 0, self.said
        return self.said


@pytest.fixture
def start(command: Command) -> Iterator[Start]:
    """Starts servers on free ports."""
    started: list[Served] = []

    def begin(*options: str) -> Served:
        program = command.start("serve", "--port", "0", *options)
        assert program.stdout is not None
        lines = [program.stdout.readline(), program.stdout.readline()]
        assert "GraphiQL: " in lines[1], lines
        started.append(Served(program, lines[1].split()[1]))
        return started[-1]

    yield begin
    for served in started:
        if served.program.poll() is None:
            served.end()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate of 127.0.0.1 that nobody has signed, and its key."""
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    return cert, key


def added(command: Command, name: str, role: str, *options: str) -> str:
    """A new token, as `daglens tokens add` prints it: on stdout and alone."""
    answer = command("tokens", "add", name, "--role", role, *options)
    assert answer.code == 0, answer.err
    token = answer.out.rstrip("\n")
    assert token.startswith("dgl_")
    assert token not in answer.err
    return token


def test_tokens(command: Command, start: Start) -> None:
    """Add, list, rotate and remove change what a running server takes; no token is ever said by it."""
    token = added(command, "ci", "recorder")
    path = command.home / "tokens"
    served = start("--tokens", str(path))
    url = served.url
    assert httpx.get(f"{url}{QUERY}").status_code == 401
    assert httpx.get(f"{url}{QUERY}", headers=bearer(token)).status_code == 200
    assert [(row["name"], row["role"]) for row in command("tokens", "list", "--json").objects] == [("ci", "recorder")]
    assert command("tokens", "list").out.split()[:2] == ["ci", "recorder"]
    rotated = command("tokens", "rotate", "ci").out.strip()
    statuses = [httpx.get(f"{url}{QUERY}", headers=bearer(given)).status_code for given in (token, rotated)]
    assert statuses == [401, 200]
    assert command("tokens", "remove", "ci").code == 0
    assert httpx.get(f"{url}{QUERY}", headers=bearer(rotated)).status_code == 401
    said = served.end()
    assert "has changed" in said
    assert token not in said
    assert rotated not in said


def test_a_file_that_nothing_names(command: Command, tmp_path: Path) -> None:
    """With its first token it is said how a server takes the file: by itself it would go on asking nobody."""
    for options, path in (((), command.home / "tokens"), (("--file", str(tmp_path / "other")), tmp_path / "other")):
        assert f"daglens serve --tokens {path}" in command("tokens", "add", "a", "--role", "viewer", *options).err
        assert "daglens serve" not in command("tokens", "add", "b", "--role", "viewer", *options).err


def test_the_file_that_dagster_yaml_names(command: Command, start: Start) -> None:
    """`daglens tokens` and `daglens serve` take the file that dagster.yaml names, without being told."""
    command.home.mkdir()
    (command.home / "dagster.yaml").write_text("daglens: {access: {tokens: access/tokens}}\n")
    (command.home / "access").mkdir()
    token = added(command, "ci", "viewer")
    assert (command.home / "access" / "tokens").is_file()
    assert "daglens serve" not in command("tokens", "add", "other", "--role", "viewer").err
    url = start().url
    assert httpx.get(f"{url}{QUERY}").status_code == 401
    assert httpx.get(f"{url}{QUERY}", headers=bearer(token)).status_code == 200


def test_read_only(start: Start) -> None:
    """--read-only: no mutation is in the schema."""
    url = start("--read-only").url
    assert "type Mutation" not in httpx.get(f"{url}/schema.graphql").text
    refused = httpx.post(f"{url}/graphql", json={"query": CREATE, "variables": {"input": {"pipelineName": "p"}}})
    assert refused.json()["errors"]


def test_tls(command: Command, start: Start, certificate: tuple[str, str]) -> None:
    """--tls-cert and --tls-key: HTTPS, and HSTS with every answer; the cookie goes over TLS only."""
    cert, key = certificate
    token = added(command, "a", "viewer")
    url = start("--tokens", str(command.home / "tokens"), "--tls-cert", cert, "--tls-key", key).url
    assert url.startswith("https://127.0.0.1:")
    with httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=cert)) as http:
        answer = http.get(QUERY, headers=bearer(token))
        assert (answer.status_code, http.get(QUERY).status_code) == (200, 401)
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "secure" in http.post("/login", data={"token": token}).headers["set-cookie"].lower()
        assert http.get(QUERY).status_code == 200


def test_beyond_loopback(command: Command, start: Start) -> None:
    """With tokens an address that others reach needs no --insecure; that they travel in the clear is said."""
    token = added(command, "a", "viewer")
    served = start("--host", "0.0.0.0", "--tokens", str(command.home / "tokens"))
    url = served.url.replace("0.0.0.0", "127.0.0.1")
    assert [httpx.get(f"{url}{QUERY}", headers=bearer(t)).status_code for t in (token, None)] == [200, 401]
    assert "without encryption" in served.end()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("serve", "--tokens", "nonesuch"), "daglens tokens add"),
        (("serve", "--tokens", "open"), "chmod 600"),
        (("serve", "--tls-cert", "cert.pem"), "go together"),
        (("serve", "--tls-cert", "nonesuch", "--tls-key", "open"), "No such file"),
        (("serve", "--tls-cert", "open", "--tls-key", "open"), "no PEM certificate"),
        (("serve", "--host", "0.0.0.0"), "--insecure"),
        (("tokens", "add", "a b", "--role", "viewer"), "can't name a token"),
        (("tokens", "add", "a"), "--role"),
        (("tokens", "add", "a", "--role", "root"), "viewer"),
        (("tokens", "rotate", "a", "--file", "empty"), "No token was changed."),
        (("tokens", "list", "--file", "nonesuch"), "No such file"),
    ],
    ids=str,
)
def test_what_is_said_wrong(command: Command, tmp_path: Path, options: Any, sentence: str) -> None:
    """Exit code 2 and a sentence, not a traceback."""
    for name, mode in (("open", 0o666), ("empty", 0o600)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    files = ("nonesuch", "open", "empty", "cert.pem")
    answer = command(*(str(tmp_path / option) if option in files else option for option in options))
    assert answer.code == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err
