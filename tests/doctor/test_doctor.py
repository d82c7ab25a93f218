"""`daglens doctor`: what it says of what it finds, and that it changes nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daglens.access import Role
from daglens.access.token_file import add_token
from daglens.doctor import Finding, Verdict, findings
from daglens.doctor.places import look_at_assets, look_at_disks
from daglens.instance import Instance, locate
from daglens.storage.records import NewRun
from tests.storages.postgres_server import PostgresServer
from tests.storages.test_postgres_pgbouncer import pooler

__all__ = ["pooler"]

SECRET = "s3cret-word"


def look(home: Path) -> dict[str, Finding]:
    """The findings on an instance, by check; of two of one check the worse."""
    found: dict[str, Finding] = {}
    ranks = list(Verdict)
    for finding in findings(lambda: locate({}, home=home, make=False)):
        before = found.get(finding.check)
        if before is None or ranks.index(finding.verdict) > ranks.index(before.verdict):
            found[finding.check] = finding
    return found


def files(folder: Path) -> Mapping[str, tuple[int, bytes]]:
    """Everything below a folder: times of change and contents."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A local instance with one run, closed again."""
    with Instance.open(home=tmp_path / "home", environ={}) as instance:
        instance.create_run(NewRun("run", "nightly"))
    return tmp_path / "home"


def database_of(home: Path) -> Path:
    """The file of runs and events."""
    (path,) = home.rglob("daglens.db")
    return path


def on_postgres(home: Path, url: str, schema: str, **settings: Any) -> Path:
    """An instance on a schema of a server."""
    home.mkdir()
    config = {"postgres_url": url, "schema_name": schema, "pool_size": 4} | settings
    sections = {
        "run_storage": {"module": "daglens.storage.postgres", "class": "PostgresRunStorage", "config": config},
        "event_log_storage": {
            "module": "daglens.storage.postgres",
            "class": "PostgresEventLogStorage",
            "config": config,
        },
    }
    (home / "dagster.yaml").write_text(json.dumps(sections))
    return home


# ---------------------------------------------------------------- local


def test_a_local_instance_is_well_and_left_alone(home):
    """Everything but the disk, which is the machine's; and no file is touched or made."""
    before = files(home)
    found = look(home)
    assert {check for check, finding in found.items() if finding.verdict is not Verdict.OK} <= {
        "disk-space",
        "graphiql",
    }
    assert {"file-system", "wal", "schema", "clock", "live-hint", "log-sharing", "tokens"} <= found.keys()
    assert files(home) == before


def test_an_instance_that_is_not_there_is_not_made(tmp_path):
    """A mistyped folder is told of, and stays missing."""
    found = look(tmp_path / "mistyped")
    assert found["configuration"].verdict is Verdict.WARNING
    assert not (tmp_path / "mistyped").exists()


def test_a_file_that_is_in_use_is_read_as_it_is(home):
    """Also while a server has it open, with commits that stand in the write-ahead log only."""
    with Instance.open(home=home, environ={}) as instance:
        instance.create_run(NewRun("other", "nightly"))
        assert look(home)["schema"].verdict is Verdict.OK


def damage(home: Path) -> None:
    """Overwrite the file's beginning."""
    path = database_of(home)
    path.write_bytes(b"x" * 4096 + path.read_bytes()[4096:])


def leave_wal(home: Path) -> None:
    """Turn the write-ahead log off."""
    with sqlite3.connect(database_of(home)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


def revise(revision: str) -> Callable[[Path], None]:
    """Write another revision."""

    def change(home: Path) -> None:
        with sqlite3.connect(database_of(home)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.close()

    return change


@pytest.mark.parametrize(
    ("change", "check", "verdict", "said"),
    [
        (damage, "wal", Verdict.PROBLEM, "no SQLite database"),
        (leave_wal, "wal", Verdict.WARNING, "not in WAL mode"),
        (revise("0001"), "schema", Verdict.WARNING, "at revision 0001"),
        (revise("9999"), "schema", Verdict.PROBLEM, "newer daglens"),
    ],
)
def test_what_is_wrong_with_a_file(home, change, check, verdict, said):
    """Each has its sentence, and says what to do."""
    change(home)
    before = files(home)
    finding = look(home)[check]
    assert finding.verdict is verdict
    assert said in finding.found
    assert finding.advice
    assert files(home) == before


def test_a_network_file_system_is_a_problem(home, monkeypatch):
    """With what to write where."""
    from daglens.doctor import sqlite
    from daglens.storage.sqlite.file_systems import refuse_network

    mounts = home.parent / "mountinfo"
    mounts.write_text("36 35 98:0 / / rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(sqlite, "refuse_network", lambda folder: refuse_network(folder, mounts))
    finding = look(home)["file-system"]
    assert finding.verdict is Verdict.PROBLEM
    assert "nfs4" in finding.found and "base_dir" in finding.advice


def test_a_history_in_memory_is_a_warning(home, monkeypatch):
    """A container whose folder is a tmpfs works, until it is started again."""
    from daglens.doctor import sqlite

    monkeypatch.setattr(sqlite, "file_system_of", lambda folder: "tmpfs")
    finding = look(home)["file-system"]
    assert finding.verdict is Verdict.WARNING
    assert "tmpfs" in finding.found and "base_dir" in finding.advice


@contextmanager
def a_user_without_rights() -> Iterator[None]:
    """Not root meanwhile, to whom every folder is open."""
    was = os.geteuid()
    os.seteuid(65534 if was == 0 else was)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize("closed", [".", "home", "home/history"])
def test_what_may_not_be_read_is_a_problem_like_others(home, closed):
    """The folder above the instance, its own, the database's: the doctor names what is closed, and goes on."""
    look(home)  # imports what it takes: Python's own folders may be closed as well
    home.parent.chmod(0o755)
    folder = home.parent / closed
    folder.chmod(0)
    try:
        with a_user_without_rights():
            found = look(home)
    finally:
        folder.chmod(0o700)
    problems = [finding for finding in found.values() if finding.verdict is Verdict.PROBLEM]
    assert any("can't be read" in finding.found and str(home) in finding.found for finding in problems), found
    assert all(finding.advice for finding in problems)


def test_mistakes_in_the_configuration_are_all_listed(tmp_path):
    """One finding each, with its line; the rest that can be looked at is."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("run_storag: {}\ndaglens:\n  live:\n    poll_interval_s: many\n")
    wrong = [f for f in findings(lambda: locate({}, home=home, make=False)) if f.verdict is Verdict.PROBLEM]
    told = [f.found for f in wrong if f.check == "configuration"]
    assert any("dagster.yaml:1" in text for text in told)
    assert any("dagster.yaml:4" in text for text in told)


def test_tokens_that_others_may_read_are_a_problem(home):
    """And a well kept file is none; of one that nothing names it is said how a server takes it."""
    path = home / "tokens"
    add_token(path, "ann", Role.ADMIN)
    unnamed = look(home)["tokens"]
    assert (unnamed.verdict, f"--tokens {path}" in unnamed.found) == (Verdict.OK, True)
    (home / "dagster.yaml").write_text("daglens: {access: {tokens: tokens}}\n")
    assert look(home)["tokens"].verdict is Verdict.OK
    path.chmod(0o644)
    finding = look(home)["tokens"]
    assert finding.verdict is Verdict.PROBLEM
    assert "chmod 600" in finding.found


def test_little_room_is_told(tmp_path, monkeypatch):
    """Below the reserve it is a problem: nothing is captured any more."""
    import shutil

    for free, verdict in ((10 * 2**20, Verdict.PROBLEM), (500 * 2**20, Verdict.WARNING), (2**40, Verdict.OK)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(1, 1, free))
        assert [finding.verdict for finding in look_at_disks([tmp_path, tmp_path / "below"])] == [verdict]


def test_missing_assets_are_told(tmp_path):
    """By name."""
    finding = look_at_assets(tmp_path, ["graphiql.min.js"])
    assert finding.verdict is Verdict.PROBLEM
    assert "graphiql.min.js" in finding.found and "pip install" in finding.advice


def test_the_command_tells_by_its_exit_code(home):
    """0 while there are warnings at most, 1 when there is a problem; --json prints one object per finding."""
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    command = [sys.executable, "-m", "daglens.cli", "doctor"]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"check", "verdict", "found", "advice"} == objects[0].keys()
    assert done.returncode == int(any(found["verdict"] == "problem" for found in objects))
    assert done.stderr == ""
    revise("9999")(home)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "problem  schema:" in done.stdout and "→ Upgrade daglens." in done.stdout
    assert "Looking at run_storage" in done.stderr


# ---------------------------------------------------------------- PostgreSQL


def test_postgres_is_well(tmp_path, postgres, postgres_schema):
    """Schema, clock, pool, nothing in between, and a notification that comes back; logs on this disk are told of."""
    found = look(on_postgres(tmp_path / "home", postgres.url, postgres_schema))
    wanted = ("schema", "clock", "pool", "pgbouncer", "live-hint")
    assert {check: found[check].verdict for check in wanted} == dict.fromkeys(wanted, Verdict.OK)
    assert "Nothing stands between" in found["pgbouncer"].found
    assert found["log-sharing"].verdict is Verdict.WARNING
    assert "compute_logs" in found["log-sharing"].advice


def test_an_empty_database_is_not_set_up_by_looking(tmp_path, postgres):
    """It is said that the first use does it; or how, where that is turned off."""
    assert "first use sets it up" in look(on_postgres(tmp_path / "a", postgres.url, "doc_none"))["schema"].found
    off = look(on_postgres(tmp_path / "b", postgres.url, "doc_none", should_autocreate_tables=False))["schema"]
    assert off.verdict is Verdict.PROBLEM and "instance migrate" in off.advice
    assert postgres.execute("SELECT to_regnamespace('doc_none')") == [(None,)]


def test_an_older_schema_is_a_problem(tmp_path, postgres, postgres_schema):
    """With the command that helps."""
    postgres.execute(f"UPDATE {postgres_schema}.alembic_version SET version_num = '0001'")
    finding = look(on_postgres(tmp_path / "home", postgres.url, postgres_schema))["schema"]
    assert finding.verdict is Verdict.PROBLEM
    assert "daglens instance migrate" in finding.advice


def test_a_pool_larger_than_the_server_allows_is_a_problem(tmp_path, postgres, postgres_schema):
    """With the settings that matter."""
    finding = look(on_postgres(tmp_path / "home", postgres.url, postgres_schema, pool_size=100))["pool"]
    assert finding.verdict is Verdict.PROBLEM
    assert "pool_size" in finding.advice and "max_connections" in finding.advice


def test_a_clock_that_is_off_is_told(tmp_path, postgres, postgres_schema, monkeypatch):
    """From a second on; from half a minute on it is a problem."""
    from daglens.doctor import postgres as looked

    home = on_postgres(tmp_path / "home", postgres.url, postgres_schema)
    for off_s, verdict in ((7.0, Verdict.WARNING), (3600.0, Verdict.PROBLEM)):
        ahead = SimpleNamespace(monotonic=time.monotonic, time=partial(lambda off_s: time.time() - off_s, off_s))
        monkeypatch.setattr(looked, "time", ahead)
        finding = look(home)["clock"]
        assert finding.verdict is verdict and "NTP" in finding.advice


def test_an_unreachable_server_is_one_problem_among_all_that_can_be_looked_at(tmp_path):
    """Without its password; disks, tokens and assets are looked at all the same."""
    url = f"postgresql://ann:{SECRET}@127.0.0.1:1/db"
    found = look(on_postgres(tmp_path / "home", url, "daglens"))
    assert found["postgres"].verdict is Verdict.PROBLEM
    assert "dagster.yaml" in found["postgres"].advice
    assert {"disk-space", "tokens", "graphiql", "log-sharing"} <= found.keys()
    assert SECRET not in repr(found)


@pytest.mark.system
def test_pgbouncer_in_transaction_mode_is_told(tmp_path, postgres: PostgresServer, postgres_schema, pooler):
    """It works, but live views hear by polling: both findings say what to write where."""
    found = look(on_postgres(tmp_path / "home", pooler, postgres_schema))
    assert found["pgbouncer"].verdict is Verdict.WARNING
    assert "transaction mode" in found["pgbouncer"].found and "event_log_storage" in found["pgbouncer"].advice
    assert found["live-hint"].verdict is Verdict.WARNING and "poll_interval_s" in found["live-hint"].advice
    assert found["schema"].verdict is Verdict.OK
