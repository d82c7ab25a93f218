"""Compute logs that dead processes left on their way to S3 (moto): servers send them, and `daglens recorder flush`."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daglens.cli.app import app
from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.contract import Leftovers
from daglens.storage.object_store import ObjectStoreComputeLogManager
from daglens.storage.records import LeftoversState, LogKey
from daglens.testing.compute_logs.topic import OUT, begin, whole, write
from daglens.testing.server import serve_in_thread
from tests.storages.object_stores import (
    ACCESS_KEY,
    SECRET_KEY,
    Server,
    eventually,
    in_memory,
    make_bucket,
    moto,
    s3_config,
)

YAML = f"""
compute_logs:
  module: daglens.storage.object_store
  class: ObjectStoreComputeLogManager
  config:
    bucket: BUCKET
    endpoint_url: URL
    region: us-east-1
    access_key_id: {ACCESS_KEY}
    secret_access_key: {SECRET_KEY}
    close_timeout_s: 0
run_storage:
  module: daglens.storage.postgres
  class: PostgresRunStorage
  config:
    postgres_url: postgresql://nobody@127.0.0.1:1/away
"""
KEYS = [LogKey("run", f"step {number}") for number in range(3)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with moto() as started:
        yield started


@pytest.fixture
def bucket(server: Server) -> str:
    """Its name; it is not there yet."""
    return f"logs-{secrets.token_hex(8)}"


@pytest.fixture
def home(server: Server, bucket: str, tmp_path: Path) -> Path:
    """An instance whose logs go to the bucket, and whose database is away."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(YAML.replace("BUCKET", bucket).replace("URL", server.url))
    return folder


@pytest.fixture
def reader(server: Server, bucket: str, tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
    """Another machine."""
    logs = ObjectStoreComputeLogManager.from_config(s3_config(server, bucket), tmp_path / "another home")
    yield logs
    logs.close()


@pytest.fixture(autouse=True)
def own_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGLENS_SPOOL", str(tmp_path / "spool of servers"))


def die(logs: ObjectStoreComputeLogManager) -> None:
    """What a process that is killed leaves behind: locks are free, and nothing is sent."""
    (uploads,) = logs._uploads.values()
    uploads._workers.stop(60)
    for upload in uploads._uploads:
        upload.spool.release()


def leave(server: Server, bucket: str, home: Path) -> None:
    """Three steps of a process that died."""
    config = s3_config(server, bucket, upload_interval_s=3600)
    logs = ObjectStoreComputeLogManager.from_config(config, home)
    for key in KEYS:
        write(begin(logs, key), OUT, key.step_key.encode())
    die(logs)


def flush(home: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["recorder", "flush", "--instance-home", str(home), *more])


def test_flush_sends_them(server: Server, bucket: str, home: Path, reader: ObjectStoreComputeLogManager) -> None:
    """`daglens recorder flush` brings what is left to the store, though the database is away, and says how many; then
    there is nothing to send."""
    make_bucket(server, bucket)
    leave(server, bucket, home)
    assert flush(home, "--to", server.url).output == "Nothing to send.\n"
    answer = flush(home)
    assert answer.exit_code == 0, answer.output
    assert answer.output.endswith(f"3 compute logs for s3://{bucket}/daglens: sent.\n")
    for key in KEYS:
        assert whole(reader, key) == key.step_key.encode()
        assert reader.read(key, OUT, 0, 0).complete
    again = flush(home)
    assert (again.exit_code, again.output) == (0, "Nothing to send.\n")


def test_flush_that_can_t(server: Server, bucket: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store takes nothing, flush gives up soon, with the reason and exit code 1, and nothing is lost."""
    leave(server, bucket, home)
    with monkeypatch.context() as impatient:
        impatient.setattr("daglens.cli.leftover_logs._ROUND_S", 0.2)
        answer = flush(home)
    assert answer.exit_code == 1
    assert f"3 compute logs for s3://{bucket}/daglens could not be sent, and stay on this machine" in answer.output
    # The reason once, whoever of those that take part knows it.
    assert answer.output.count("There is no such bucket") == 1, answer.output
    assert SECRET_KEY not in answer.output
    make_bucket(server, bucket)
    assert flush(home).exit_code == 0


def test_flush_makes_no_instance(tmp_path: Path) -> None:
    """On a machine that only sends to servers it makes neither a database nor a spool."""
    home = tmp_path / "home"
    assert flush(home).output == "Nothing to send.\n"
    assert not any(home.iterdir())


def test_server_sends_them(
    server: Server,
    bucket: str,
    tmp_path: Path,
    reader: ObjectStoreComputeLogManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server on that machine sends what it finds, at its start and later, and says so once."""
    make_bucket(server, bucket)
    leave(server, bucket, tmp_path / "home")
    config = s3_config(server, bucket)
    with (
        caplog.at_level(logging.INFO, "daglens.server"),
        Instance.ephemeral() as instance,
    ):
        logs = ObjectStoreComputeLogManager.from_config(config, tmp_path / "home")
        with serve_in_thread(replace(instance, compute_logs=logs), ServerSettings(upkeep_s=0.01, drain_s=2.0)):
            eventually(lambda: told(caplog) == 3, "three are told of")
            leave_one(server, bucket, tmp_path / "home")
            eventually(lambda: told(caplog) == 4, "the fourth, too")
        logs.close()
    for key in [*KEYS, LogKey("run", "later")]:
        assert whole(reader, key) == key.step_key.encode()


def leave_one(server: Server, bucket: str, home: Path) -> None:
    logs = ObjectStoreComputeLogManager.from_config(s3_config(server, bucket, upload_interval_s=3600), home)
    write(begin(logs, LogKey("run", "later")), OUT, b"later")
    die(logs)


def told(caplog: pytest.LogCaptureFixture) -> int:
    """How many logs the server says that it has sent."""
    lines = [record.getMessage() for record in caplog.records if "left by processes" in record.getMessage()]
    return sum(int(line.split()[0]) for line in lines if line.endswith("are sent"))


def test_server_that_can_t_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A problem is told once, not each round; a storage that raises stops no upkeep, and nobody waits for it."""
    rounds: list[float] = []

    class Failing(ObjectStoreComputeLogManager):
        def finish_leftovers(self, timeout_s: float) -> LeftoversState:
            rounds.append(timeout_s)
            if len(rounds) < 5:
                return LeftoversState(0, 2, "compute logs for s3://x", "Access denied.")
            raise RuntimeError("planted")

    with Instance.ephemeral() as instance, caplog.at_level(logging.INFO, "daglens.server"):
        logs = Failing(in_memory(tmp_path).bucket.store, location="s3://x", local_dir=tmp_path)
        assert isinstance(logs, Leftovers)
        with serve_in_thread(replace(instance, compute_logs=logs), ServerSettings(upkeep_s=0.01, drain_s=2.0)):
            eventually(lambda: len(rounds) > 10, "upkeep goes on")
        logs.close()
    assert set(rounds) == {0}
    assert [record.getMessage() for record in caplog.records if "processes that died" in record.getMessage()] == [
        "2 compute logs for s3://x, left by processes that died, wait: Access denied.",
        "What processes that died have left can't be finished: planted",
    ]
