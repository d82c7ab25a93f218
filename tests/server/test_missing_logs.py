"""Why a compute log isn't there: told alike by a query, a subscription, a download and the command."""

from __future__ import annotations

import json
import os
import socket as sockets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from daglens import start_run
from daglens.cli.app import app
from daglens.instance import Instance
from daglens.storage import event_types as et
from daglens.storage import log_places
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.contract import ComputeLogManager, Leftovers
from daglens.storage.drafts import now_us
from daglens.storage.log_places import LogPlace, LogPlaceKind, captured_data, received
from daglens.storage.postgres import PostgresDatabase, PostgresEventLogStorage, PostgresRunStorage
from daglens.storage.records import ComputeIO, EventDraft, EventFilter, EventQuery, LogKey, NewRun
from daglens.testing.server import LiveServer
from tests.live.conftest import QUICK
from tests.server.conftest import PATIENCE_S, Serve, opened
from tests.storages.object_stores import in_memory
from tests.storages.postgres_server import config_for, postgres, postgres_schema

__all__ = ["postgres", "postgres_schema"]

QUERY = """
query($attempt: Int) { runOrError(runId: "run") { ... on Run { computeLog(stepKey: "extract", attempt: $attempt) {
  stdout { chunkOrError { ...Told } tailOrError { ...Told } }
  stderr { chunkOrError { ...Told } }
} } } }
fragment Told on ComputeLogChunkOrError {
  ... on ComputeLogChunk { data } ... on ComputeLogUnavailableError { reason message }
}
"""
WATCH = """
subscription($attempt: Int) {
  computeLog(runId: "run", stepKey: "extract", ioType: STDOUT, attempt: $attempt) {
    ... on ComputeLogChunk { data } ... on ComputeLogUnavailableError { reason message }
  }
}
"""
DAY_US = 86_400_000_000


@dataclass
class Told:
    """What was said of a missing log; the same by every way."""

    reason: str
    message: str


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    """An instance whose history several machines share; its compute logs are on this one."""
    with ExitStack() as open_:
        instance = open_.enter_context(Instance.open(home=tmp_path / "home", environ={}))
        if request.param == "postgres":
            server = request.getfixturevalue("postgres")
            database = PostgresDatabase(config_for(server.url, request.getfixturevalue("postgres_schema")))
            open_.callback(database.close)
            runs, events = PostgresRunStorage(database), PostgresEventLogStorage(database)
            instance = replace(instance, runs=runs, events=events)
        yield instance


@contextmanager
def machine(name: str) -> Iterator[None]:
    """What this process does in the block it does on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "uname", lambda: os.uname_result(("Linux", name, "", "", "")))
        yield


def logs_at(folder: Path) -> LocalComputeLogManager:
    return LocalComputeLogManager(folder)


def record(instance: Instance, logs: ComputeLogManager) -> None:
    """A run of one step whose output `logs` keeps."""
    with start_run("nightly", run_id="run", instance=replace(instance, compute_logs=logs)) as run, run.step("extract"):
        print("extracting")


def tell(instance: Instance, place: LogPlace | None, *, at_us: int | None = None, attempt: int = 1) -> None:
    """The capture of a running step, without any log."""
    instance.create_run(NewRun("run", "nightly"))
    data = {"attempt": attempt, "stepKeys": ["extract"], **captured_data(place)}
    instance.append("run", [EventDraft(et.LOGS_CAPTURED, "extract", timestamp_us=at_us, data=data)])


def end(instance: Instance) -> None:
    instance.append("run", [EventDraft(et.RUN_SUCCESS)])


def told_by_query(server: LiveServer, attempt: int = 1) -> Told:
    """By each field of both streams, which say the same."""
    body = {"query": QUERY, "variables": {"attempt": attempt}}
    answer = httpx.post(f"{server.url}/graphql", json=body, timeout=PATIENCE_S).json()
    log = answer["data"]["runOrError"]["computeLog"]
    said = [log["stdout"]["chunkOrError"], log["stdout"]["tailOrError"], log["stderr"]["chunkOrError"]]
    assert said == [said[0]] * 3
    return Told(**said[0])


def told_by_subscription(server: LiveServer, attempt: int = 1) -> Told:
    """An empty chunk may come before; the reason ends it."""
    with opened(server) as socket:
        socket.start(WATCH, variables={"attempt": attempt})
        *chunks, last = [payload["data"]["computeLog"] for payload in socket.results()]
    assert chunks in ([], [{"data": ""}])
    return Told(**last)


def told_by_download(server: LiveServer, status: int) -> str:
    """The sentence."""
    answer = httpx.get(f"{server.url}/runs/run/compute-logs/extract/stdout", timeout=PATIENCE_S)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (status, "application/json")
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "COMPUTE_LOG_UNAVAILABLE"
    message: str = error["message"]
    return message


def told_by_all(server: LiveServer, status: int = 404) -> Told:
    told = told_by_query(server)
    assert told_by_subscription(server) == told
    assert told_by_download(server, status) == told.message
    return told


def test_log_on_the_disk_of_another_machine(serve: Serve, shared: Instance, tmp_path: Path) -> None:
    """Two machines on one database, each with its own folder: NOT_SHARED names the other one, and what to set."""
    with machine("worker-7"):
        record(shared, logs_at(tmp_path / "disk of worker-7"))
    with machine("web-1"):
        told = told_by_all(serve(shared))
        assert told.reason == "NOT_SHARED"
        assert "It was written on worker-7, in " in told.message
        assert f"{tmp_path / 'disk of worker-7'}, which web-1 doesn't see." in told.message
        assert "compute_logs in dagster.yaml" in told.message
    with machine("worker-7"):
        server = serve(replace(shared, compute_logs=logs_at(tmp_path / "disk of worker-7")))
        log = httpx.get(f"{server.url}/runs/run/compute-logs/extract/stdout", timeout=PATIENCE_S)
        assert log.text == "extracting\n", "where it is, it can be read"


def test_the_command_says_so_too(tmp_path: Path) -> None:
    """`daglens logs`, with and without --follow, on a machine that shares the database and not the folder."""
    home = tmp_path / "home"
    with Instance.open(home=home, environ={}) as instance, machine("worker-7"):
        record(instance, logs_at(tmp_path / "its disk"))
    for more in ([], ["--follow"]):
        answer = CliRunner().invoke(app, ["logs", "run", "extract", *more, "--instance-home", str(home)])
        said = f"{answer.output}{answer.exception}"
        assert answer.exit_code != 0
        assert "written on worker-7" in said


def test_follow_doesn_t_wait_for_what_is_elsewhere(tmp_path: Path) -> None:
    """`daglens logs --follow` of a run that goes on ends when its log is on another machine's disk."""
    home = tmp_path / "home"
    with Instance.open(home=home, environ={}) as instance, machine("worker-7"):
        tell(instance, LogPlace(LogPlaceKind.DISK, "/its/disk"))
    answer = CliRunner().invoke(app, ["logs", "run", "extract", "-f", "--instance-home", str(home)])
    assert "written on worker-7, in /its/disk" in f"{answer.output}{answer.exception}"


def test_another_folder_of_this_machine(serve: Serve, shared: Instance, tmp_path: Path) -> None:
    """Two files on one machine that name different folders: NOT_SHARED, with both."""
    record(shared, logs_at(tmp_path / "elsewhere"))
    told = told_by_query(serve(shared))
    assert told.reason == "NOT_SHARED"
    assert f"in {tmp_path / 'elsewhere'};" in told.message
    assert f"has compute_logs in {shared.home / 'storage'}." in told.message


def test_log_that_was_removed_here(serve: Serve, shared: Instance) -> None:
    """Captured on this machine, in this folder, and gone: EXPIRED."""
    record(shared, shared.compute_logs)
    shared.compute_logs.delete("run")
    told = told_by_all(serve(shared))
    assert told.reason == "EXPIRED"


@pytest.fixture
def machine_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that this machine has its id in."""
    file = tmp_path / "machine-id"
    monkeypatch.setattr(log_places, "_MACHINE_ID_FILE", str(file))
    yield file
    log_places.machine.cache_clear()


def test_two_machines_of_one_name(serve: Serve, shared: Instance, machine_id: Path) -> None:
    """Workers that are all called `localhost`, with the same dagster.yaml: NOT_SHARED, as of machines with names. Where
    one of them has no id, nothing tells them apart."""
    ids = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210", "uninitialized"]
    said = []
    for number, id_here in enumerate(ids):
        machine_id.write_text(f"{id_here}\n")
        log_places.machine.cache_clear()
        if number == 0:
            tell(shared, shared.compute_logs.place)
            end(shared)
            assert id_here not in str(captured_of(shared)), "it is to be kept to its machine"
        said.append(told_by_query(serve(shared)))
    assert [told.reason for told in said] == ["EXPIRED", "NOT_SHARED", "EXPIRED"]
    here = sockets.gethostname()
    where = f"written on another machine that is called {here}, too, in {shared.home / 'storage'}."
    assert where in said[1].message


def test_object_store_has_nothing_yet(serve: Serve, shared: Instance, tmp_path: Path) -> None:
    """The machine of the recorder brings it to the store, and hasn't: NOT_UPLOADED_YET names it. When a day has passed
    it has expired, or never came."""
    logs = in_memory(tmp_path / "spool")
    with machine("worker-7"):
        tell(shared, logs.place)
        tell(shared, logs.place, at_us=now_us() - 2 * DAY_US, attempt=2)
    end(shared)
    server = serve(replace(shared, compute_logs=logs))
    told = told_by_all(server, 503)
    assert told.reason == "NOT_UPLOADED_YET"
    assert "worker-7 has brought nothing of it to memory://logs/daglens yet." in told.message
    assert "daglens recorder flush" in told.message
    assert told_by_query(server, 2).reason == "EXPIRED"
    logs.close()


def test_store_that_this_server_doesn_t_have(serve: Serve, shared: Instance, tmp_path: Path) -> None:
    """The recorder's dagster.yaml names a bucket, the server's a folder: NOT_SHARED, with both."""
    tell(shared, LogPlace(LogPlaceKind.OBJECT_STORE, "s3://logs/daglens"))
    end(shared)
    told = told_by_all(serve(shared))
    assert told.reason == "NOT_SHARED"
    assert "It is kept in s3://logs/daglens;" in told.message
    assert str(shared.home / "storage") in told.message


def test_sent_to_another_server(serve: Serve, shared: Instance, tmp_path: Path) -> None:
    """Servers behind a proxy, each with its own disk: a log that was sent to one is NOT_SHARED on the other, which is
    said of the server, not of the recorder. The one that it was sent to waits for the rest."""
    event = EventDraft(et.LOGS_CAPTURED, "extract", data={"attempt": 1, "hostname": "worker-7"})
    with machine("web-1"):
        draft = received(event, shared.compute_logs.place)
    shared.create_run(NewRun("run", "nightly"))
    shared.append("run", [draft, EventDraft(et.RUN_SUCCESS)])
    with machine("web-2"):
        told = told_by_all(serve(replace(shared, compute_logs=logs_at(tmp_path / "web-2"))))
        assert told.reason == "NOT_SHARED"
        assert "Recorded on worker-7, it is on the server web-1, in " in told.message
    with machine("web-1"):
        told = told_by_query(serve(shared))
        assert told.reason == "NOT_UPLOADED_YET"
        assert "worker-7 captured it, and has sent nothing of it yet." in told.message


def test_server_says_where_it_keeps_what_is_sent(serve: Serve, shared: Instance, monkeypatch: Any) -> None:
    """A run recorded to a server: its log is read there, and the event names both machines."""
    monkeypatch.setenv("DAGLENS_SPOOL", str(shared.home / "spool"))
    server = serve(shared)
    with start_run("nightly", run_id="run", to=server.url) as run, run.step("extract"):
        print("extracting")
    log = httpx.get(f"{server.url}/runs/run/compute-logs/extract/stdout", timeout=PATIENCE_S)
    assert log.text == "extracting\n"
    data = captured_of(shared)
    assert data["hostname"] == sockets.gethostname()
    assert data["keptIn"] == {
        "kind": "DISK",
        "hostname": sockets.gethostname(),
        "location": str(shared.home / "storage"),
        "sent": True,
    } | ({} if log_places.machine() is None else {"machine": log_places.machine()})


def captured_of(instance: Instance) -> dict[str, Any]:
    """Data of the run's only LOGS_CAPTURED."""
    (found,) = instance.events.read([EventQuery("run", filter=EventFilter(event_types=(et.LOGS_CAPTURED,)))])
    (event,) = found.events
    data: dict[str, Any] = json.loads(event.data)
    return data


ODD: list[Any] = [
    {"attempt": 1, "stepKeys": ["extract"]},
    {"attempt": 1, "hostname": "worker-7"},
    {"attempt": 1, "hostname": 7, "keptIn": "a disk"},
    {"attempt": 1, "hostname": "worker-7", "keptIn": {"kind": "DISK", "location": 5}},
    {"attempt": 1, "hostname": "worker-7", "keptIn": {"kind": ["DISK"], "location": "/x"}},
    {"attempt": 1, "hostname": "worker-7", "keptIn": {"kind": "TAPE", "hostname": "worker-7", "location": "/x"}},
    {"attempt": 2, "hostname": "worker-7", "keptIn": {"kind": "DISK", "hostname": "worker-7", "location": "/x"}},
    {"attempt": "1", "hostname": "worker-7", "keptIn": {"kind": "DISK", "hostname": "worker-7", "location": "/x"}},
    {},
]


def test_event_that_says_too_little(serve: Serve, instance: Instance) -> None:
    """Events of before, of other writers and of newer ones: the log is NOT_CAPTURED, as it always was."""
    server = serve()
    for data in ODD:
        instance.create_run(NewRun("run", "nightly"))
        instance.append("run", [EventDraft(et.LOGS_CAPTURED, "extract", data=data)])
        assert told_by_query(server).reason == "NOT_CAPTURED", data


def test_odd_names_are_told_harmlessly(serve: Serve, instance: Instance) -> None:
    """What a writer calls its machine and folder stands in a sentence on one line, cut where it is too long."""
    with machine("worker\n\x1b[31m" + "x" * 1000):
        tell(instance, LogPlace(LogPlaceKind.DISK, "/a\nb"))
    message = told_by_query(serve()).message
    assert "written on worker??[31mxxx" in message
    assert "in /a?b," in message
    assert len(message) < 800


def test_log_comes_after_its_event(serve: Serve, instance: Instance, tmp_path: Path) -> None:
    """Through a folder that machines share a file is seen later than the event that tells of it: a viewer who watches
    has the log all the same."""
    with machine("worker-7"):
        tell(instance, LogPlace(LogPlaceKind.DISK, str(instance.home / "storage")))
    server = serve(live=replace(QUICK, linger_s=3600.0))
    with opened(server) as socket:
        socket.start(WATCH)
        assert socket.result()["data"]["computeLog"] == {"data": ""}
        instance.compute_logs.append(LogKey("run", "extract"), ComputeIO.STDOUT, 0, b"at last", complete=True)
        assert socket.results()[-1]["data"]["computeLog"] == {"data": "at last"}


def test_object_stores_offer_leftovers_and_local_files_don_t(instance: Instance, tmp_path: Path) -> None:
    """The optional protocol is known by its method."""
    logs = in_memory(tmp_path / "spool")
    assert isinstance(logs, Leftovers)
    assert not isinstance(instance.compute_logs, Leftovers)
    logs.close()
