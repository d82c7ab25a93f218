"""docs/access.md: what it shows works."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from strawberry.types import get_object_definition

from daglens.access import Role
from daglens.instance import Instance
from daglens.schema.mutation import Mutation
from daglens.schema.mutation_rules import OwnRun, rule_of
from daglens.server.settings import ServerSettings
from daglens.testing.server import LiveServer, serve_in_thread
from tests.docs.snippets import ROOT, marked, snippets

DOCUMENT = "docs/access.md"
MARKS = {
    "sh": ("shell", "serve"),
    "text": ("listed",),
    "python": ("program", "authenticator"),
    "yaml": ("proxy", "authenticator"),
}
QUERY = "/graphql?query={version}"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """`daglens` on the path, as an installation has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "DAGSTER_HOME": str(tmp_path / "home"), "PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder for a dagster.yaml."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def run_shell(text: str, env: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-euc", text], env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_tested() -> None:
    """No block of the document is without a mark that a test here takes up."""
    for snippet in snippets(DOCUMENT):
        assert snippet.mark in MARKS[snippet.language], f"{DOCUMENT}:{snippet.line}"


def test_tokens(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands make the tokens that are listed, the program uses one, rotating and removing end two."""
    first, second = marked(DOCUMENT, "shell")
    listed = run_shell(first.text, env, tmp_path)

    def without_time(text: str) -> list[str]:
        return [re.sub(r"\S+Z$", "", line) for line in text.splitlines()]

    assert without_time(listed) == without_time(marked(DOCUMENT, "listed")[0].text)
    before = {name: (tmp_path / f"{name}.token").read_text().strip() for name in ("nightly-etl", "dashboard")}
    (program,) = marked(DOCUMENT, "program")
    with (
        Instance.ephemeral() as instance,
        serve_in_thread(instance, ServerSettings(tokens=tmp_path / "tokens")) as server,
    ):
        monkeypatch.chdir(tmp_path)
        exec(compile(program.text.replace("https://lens.example.org", server.url), DOCUMENT, "exec"), {})
        run_shell(second.text, env, tmp_path)
        after = (tmp_path / "nightly-etl.token").read_text().strip()
        assert [status(server, token) for token in (*before.values(), after)] == [401, 401, 200]


def test_serving(env: dict[str, str], tmp_path: Path) -> None:
    """The command serves over TLS, to others, and lets in by the tokens only."""
    run_shell("daglens tokens add a --role viewer --file tokens > a.token", env, tmp_path)
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.pem"]
    subprocess.run([*made, *subject], check=True, capture_output=True, cwd=tmp_path)
    (command,) = marked(DOCUMENT, "serve")
    argv = [sys.executable, "-m", "daglens.cli", *command.text.split()[1:], "--port", "0"]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=env | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        url = next(word for line in program.stdout for word in line.split() if word.startswith("https://"))
        trusted = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        headers = {"host": "lens.example.org"}
        with httpx.Client(base_url=url.replace("0.0.0.0", "127.0.0.1"), verify=trusted, headers=headers) as http:
            assert http.get(QUERY).status_code == 401
            token = (tmp_path / "a.token").read_text().strip()
            assert http.get(QUERY, headers={"authorization": f"Bearer {token}"}).status_code == 200
        program.terminate()
        assert program.wait(timeout=60) == 0


def status(server: LiveServer, token: str | None = None, **headers: str) -> int:
    """What a query is answered with."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return httpx.get(f"{server.url}{QUERY}", headers=headers).status_code


@pytest.fixture
def served(home: Path, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server by the document's dagster.yaml with a mark."""
    (snippet,) = (block for block in marked(DOCUMENT, request.param) if block.language == "yaml")
    (home / "dagster.yaml").write_text(snippet.text)
    with (
        Instance.open(home=home, environ={"PASSPHRASE": "open sesame"}) as instance,
        serve_in_thread(instance) as server,
    ):
        yield server


@pytest.mark.parametrize("served", ["proxy"], indirect=True)
def test_the_proxy(served: LiveServer) -> None:
    """Users that it names are let in, and nobody without one."""
    for user in ("alice@example.org", "somebody"):
        assert status(served, **{"x-forwarded-user": user}) == 200
    assert status(served) == 401


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's authenticator, installed under the name that its dagster.yaml gives."""
    (snippet,) = (block for block in marked(DOCUMENT, "authenticator") if block.language == "python")
    (tmp_path / "our_access.py").write_text(snippet.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "our_access", raising=False)


@pytest.mark.parametrize("served", ["authenticator"], indirect=True)
def test_the_authenticator(module: None, served: LiveServer) -> None:
    """Whoever knows the passphrase is let in."""
    assert [status(served, token) for token in ("open sesame", "open", None)] == [200, 401, 401]


def test_the_table_of_roles() -> None:
    """Each mutation is in the row that its rule says."""
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    rows = {
        name: [cell.strip() for cell in row.strip().strip("|").split("|")[1:]]
        for row in re.findall(r"^\|.+\|$", text, re.M)
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    for field in get_object_definition(Mutation, strict=True).fields:
        head, *tail = str(field.python_name).split("_")
        viewer, recorder, admin = rows[head + "".join(part.title() for part in tail)]
        rule = rule_of(field)
        own = "on the runs it created" if isinstance(rule, OwnRun) else "yes"
        assert (viewer, admin) == ("", "yes")
        assert recorder == ("" if rule.role is Role.ADMIN else own)


def test_links_lead_somewhere() -> None:
    """Each page that is linked is there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / DOCUMENT).read_text(encoding="utf-8")):
        assert (ROOT / "docs" / target).is_file(), target
