"""Processes that are killed or forked while they capture, and those that come after them; over S3 (moto)."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from daglens.storage.object_store import ObjectStoreComputeLogManager
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, KEY, OUT, begin, whole, write
from tests.storages import children
from tests.storages.object_stores import (
    ACCESS_KEY,
    SECRET_KEY,
    WAIT_S,
    Server,
    eventually,
    free_port,
    in_memory,
    make_bucket,
    moto,
    s3_config,
)

# Each begins with: port, bucket, home, upload interval.
BEGIN = """
import os, sys
from pathlib import Path
from daglens.storage.object_store import ObjectStoreComputeLogManager
from daglens.storage.records import LogKey
from daglens.storage.object_store.spool import read_state
from tests.storages.object_stores import s3_config
class Server:
    url = f"http://127.0.0.1:{sys.argv[1]}"
config = s3_config(Server, sys.argv[2], upload_interval_s=float(sys.argv[4]))
logs = ObjectStoreComputeLogManager.from_config(config, Path(sys.argv[3]))
def write(path, data):
    with open(path, "ab") as file:
        file.write(data)
def tell(word):
    print(word, flush=True)
    sys.stdin.readline()
"""

KILLED = (
    BEGIN
    + """
capture = logs.capture(LogKey("run", "step"))
write(capture.stdout_path, b"uploaded\\n")
write(capture.stderr_path, b"an error\\n")
tell("written")
while logs.read(LogKey("run", "step"), "stdout", 0, 100).data != b"uploaded\\n":
    pass
(uploads,) = logs._uploads.values()
uploads._workers.stop(60)
write(capture.stdout_path, b"in the last interval\\n")
tell("waiting to be killed")
"""
)

FOLLOWING = (
    BEGIN
    + """
capture = logs.capture(LogKey("another run", "step"))
capture.close()
logs.close()
"""
)

FORKING = (
    BEGIN
    + """
def child():
    capture = logs.capture(LogKey("run", "in the child"))
    write(capture.stdout_path, b"of the child")
    capture.close(truncated=True)
    logs.close()

outer = logs.capture(LogKey("run", "in the parent"))
write(outer.stdout_path, b"of the parent; ")
pid = os.fork()
if pid == 0:
    write(outer.stdout_path, b"inherited; ")
    outer.close()
    child()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert not logs.read(LogKey("run", "in the parent"), "stdout", 0, 100).complete, "the child's unwinding closed it"
assert not read_state(outer.stdout_path.parent).closed, "and would have, had the parent been killed"
write(outer.stdout_path, b"and of the parent")
outer.close()
logs.close()
"""
)

FORKED_FIRST = (
    BEGIN
    + """
pid = os.fork()
capture = logs.capture(LogKey("run", "in the parent" if pid else "in the child"))
write(capture.stdout_path, b"text")
capture.close()
logs.close()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
"""
)

REFUSED_AFTER_FORK = (
    BEGIN
    + """
from daglens.storage.errors import StorageUnavailable
logs.list(["run"])
pid = os.fork()
if pid == 0:
    try:
        logs.list(["run", "another"])
    except StorageUnavailable as error:
        tell(error)
    assert not logs.health().healthy
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
)


RECORDING = """
import subprocess, sys
import daglens

def in_a_process_of_its_own():
    print("isolated")

def main():
    with daglens.start_run("nightly", run_id="run") as run:
        with run.step("extract"):
            print("printed")
            subprocess.run(["echo", "by a child"], check=True)
        run.call_step("isolated", in_a_process_of_its_own, isolate=True)

if __name__ == "__main__":
    main()
"""

DAGSTER_YAML = """
compute_logs:
  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config:
    bucket: {bucket}
    prefix: daglens
    endpoint_url: {url}
    region: us-east-1
    access_key_id: {{env: LOGS_KEY}}
    secret_access_key: {{env: LOGS_SECRET}}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with moto() as started:
        yield started


@pytest.fixture
def bucket(server: Server) -> str:
    name = f"logs-{secrets.token_hex(8)}"
    make_bucket(server, name)
    return name


@pytest.fixture
def reader(server: Server, bucket: str, tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
    """A server on another machine."""
    logs = ObjectStoreComputeLogManager.from_config(s3_config(server, bucket), tmp_path / "home of the server")
    yield logs
    logs.close()


def run(program: str, server: Server, bucket: str, home: Path) -> None:
    children.outputs([children.start(program, server.port, bucket, home, 0.05)])


def test_a_killed_worker_loses_the_last_interval_at_most(
    server: Server, bucket: str, reader: ObjectStoreComputeLogManager, tmp_path: Path
) -> None:
    """After `kill -9` what was uploaded is there, open; the next process on that machine brings the rest."""
    child = children.start(KILLED, server.port, bucket, tmp_path / "home", 0.05)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "written\n"
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "waiting to be killed\n", child.communicate()
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=children.WAIT_S)
    found = reader.read(KEY, OUT, 0, 100)
    assert (found.data, found.complete) == (b"uploaded\n", False)
    run(FOLLOWING, server, bucket, tmp_path / "home")
    found = reader.read(KEY, OUT, 0, 100)
    assert (found.data, found.complete) == (b"uploaded\nin the last interval\n", True)
    assert (whole(reader, KEY, ERR), reader.read(KEY, ERR, 0, 0).complete) == (b"an error\n", True)
    assert not [path for path in (tmp_path / "home" / "compute-logs-spool").rglob("*") if path.is_file()]


def test_a_forked_child_s_log_arrives(
    server: Server, bucket: str, reader: ObjectStoreComputeLogManager, tmp_path: Path
) -> None:
    """A step captured in a forked child ends there and is sent by its parent; the parent's own stays open meanwhile."""
    run(FORKING, server, bucket, tmp_path / "home")
    found = reader.read(LogKey("run", "in the child"), OUT, 0, 100)
    assert (found.data, found.complete, found.truncated) == (b"of the child", True, True)
    found = reader.read(LogKey("run", "in the parent"), OUT, 0, 100)
    assert (found.data, found.complete) == (b"of the parent; inherited; and of the parent", True)


def test_processes_forked_before_the_first_capture(
    server: Server, bucket: str, reader: ObjectStoreComputeLogManager, tmp_path: Path
) -> None:
    """Each is a process of its own and sends its own logs."""
    run(FORKED_FIRST, server, bucket, tmp_path / "home")
    for name in ("in the parent", "in the child"):
        found = reader.read(LogKey("run", name), OUT, 0, 100)
        assert (found.data, found.complete) == (b"text", True)


def test_a_forked_child_says_that_it_can_t_read(server: Server, bucket: str, tmp_path: Path) -> None:
    """It gets a sentence instead of waiting for ever on threads that are not there."""
    child = children.start(REFUSED_AFTER_FORK, server.port, bucket, tmp_path / "home", 0.05)
    assert "forked off one that uses an object store" in children.outputs([child])[0]


def test_the_spool_of_another_store_is_left_alone(tmp_path: Path) -> None:
    """A process with other settings doesn't send a log to where it doesn't belong."""
    spool = tmp_path / "spool"
    first = in_memory(spool, location="memory://first", upload_interval_s=3600)
    capture = first.capture(KEY)
    capture.stdout_path.write_bytes(b"text")
    (uploads,) = first._uploads.values()
    uploads._workers.stop(60)
    for upload in uploads._uploads:
        upload.spool.release()
    other = in_memory(spool, location="memory://second")
    assert other.finish_leftovers(WAIT_S).left == 0
    assert other.list(["run"])["run"] == []
    assert capture.stdout_path.exists()
    same = in_memory(spool, first.bucket.store, location="memory://first")
    eventually(
        lambda: same.finish_leftovers(WAIT_S).left == 0 and not capture.stdout_path.exists(), "its own store takes it"
    )
    assert whole(same) == b"text"
    same.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run_id": 1}', '{"run_id": "x", "more": 2}', "\udcff"])
def test_a_spool_that_can_t_be_read_is_left_alone(text: str, tmp_path: Path) -> None:
    """A file that was cut, or is somebody else's, stops nobody."""
    folder = tmp_path / "spool" / "run" / "0123"
    folder.mkdir(parents=True)
    (folder / "spool.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    logs = in_memory(tmp_path / "spool")
    capture = logs.capture(KEY)
    capture.stdout_path.write_bytes(b"text")
    capture.close()
    assert logs.finish_leftovers(WAIT_S).left == 0
    logs.close()
    assert whole(logs) == b"text"
    assert (folder / "spool.json").exists()


def test_a_recorded_run_is_read_on_another_machine(
    server: Server, bucket: str, reader: ObjectStoreComputeLogManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline with a dagster.yaml as Dagster has it: what its steps printed is complete in the bucket at its end."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML.format(bucket=bucket, url=server.url))
    (tmp_path / "pipeline.py").write_text(RECORDING)
    for name, value in (("DAGSTER_HOME", str(home)), ("LOGS_KEY", ACCESS_KEY), ("LOGS_SECRET", SECRET_KEY)):
        monkeypatch.setenv(name, value)
    assert children.outputs([children.start(tmp_path / "pipeline.py")]) == ["printed\nby a child\nisolated\n"]
    assert all(file.complete and not file.truncated for file in reader.list(["run"])["run"])
    assert whole(reader, LogKey("run", "extract")) == b"printed\nby a child\n"
    assert whole(reader, LogKey("run", "isolated")) == b"isolated\n"
    assert not [path for path in (home / "compute-logs-spool").rglob("*") if path.is_file()]


def test_a_store_that_is_not_there_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens, then there is no bucket, then there is: what was captured all that while arrives."""
    port = free_port()
    nobody = Server.__new__(Server)
    nobody.url = f"http://127.0.0.1:{port}"
    logs = ObjectStoreComputeLogManager.from_config(s3_config(nobody, "late"), tmp_path / "home")
    capture = begin(logs)
    write(capture, OUT, b"before the store\n")
    with moto(port) as server:
        write(capture, OUT, b"before the bucket\n")
        capture.close()
        make_bucket(server, "late")
        eventually(lambda: logs.finish_leftovers(WAIT_S).left == 0, "all is sent")
        found = logs.read(KEY, OUT, 0, 100)
        assert (found.data, found.complete) == (b"before the store\nbefore the bucket\n", True)
        logs.close()
    said = capsys.readouterr().err
    assert said.count("daglens:") == 1
    assert SECRET_KEY not in said
