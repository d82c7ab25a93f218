"""What a reader is told, at what cost, and why when there is nothing."""

from __future__ import annotations

import http.server
import secrets
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daglens.storage.errors import LogUnavailable, StorageUnavailable
from daglens.storage.object_store import ObjectStoreComputeLogManager, ObjectStoreConfig
from daglens.storage.object_store.bucket import Entry
from daglens.storage.object_store.chain import PART_BYTES
from daglens.storage.object_store.failures import headline
from daglens.storage.object_store.streams import Stream
from daglens.storage.records import LogKey, LogUnavailableReason
from daglens.testing.compute_logs.topic import ERR, KEY, OUT, begin, reason_of, whole, write
from tests.storages.object_stores import (
    ACCESS_KEY,
    SECRET_KEY,
    WAIT_S,
    Server,
    Written,
    free_port,
    in_memory,
    make_bucket,
    moto,
    s3_config,
)

FOLDER = "daglens/run/step~1/out"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
    manager = in_memory(tmp_path / "spool")
    yield manager
    manager.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with moto() as started:
        yield started


@pytest.fixture
def bucket(server: Server) -> str:
    name = f"logs-{secrets.token_hex(8)}"
    make_bucket(server, name)
    return name


class Requests:
    """Counts what is asked of a bucket."""

    def __init__(self, logs: ObjectStoreComputeLogManager, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        for name in ("list", "create", "replace", "read", "read_all", "delete"):
            patch.setattr(logs.bucket, name, self._counting(name, getattr(logs.bucket, name)))

    def _counting(self, name: str, ask: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            self.asked.append(name)
            return ask(*arguments)

        return counted

    def take(self) -> list[str]:
        """Those since the last call."""
        asked, self.asked = self.asked, []
        return asked


def test_what_it_costs(logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests for an append; one listing for a read, with one request for each part that the bytes are in; one
    listing for a run."""
    requests = Requests(logs, monkeypatch)
    for number in range(10):
        logs.append(KEY, OUT, number * 4, b"%03d\n" % number)
        assert requests.take() == ["list", "create"]
    logs.append(LogKey("run", "other"), OUT, 0, b"x")
    requests.take()
    assert logs.read(KEY, OUT, 40, 100).data == b""
    assert requests.take() == ["list"]
    assert logs.read(KEY, OUT, 10, 8).data == b"2\n003\n00"
    assert requests.take() == ["list"] + ["read"] * 3
    assert len(logs.list(["run"])["run"]) == 2
    assert requests.take() == ["list"]
    logs.append(KEY, OUT, 40, b"end\n", complete=True)
    requests.take()
    assert whole(logs).endswith(b"009\nend\n")
    assert requests.take() == ["list", "read"]


def test_many_small_appends_become_few_objects(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand pieces from a client: a bounded number of objects at each moment, each byte written twice at most."""
    written = Written(logs, monkeypatch)
    expected, most = b"", 0
    for number in range(1000):
        piece = b"%04d\n" % number
        logs.append(KEY, OUT, len(expected), piece)
        expected += piece
        most = max(most, len(logs.bucket.list(FOLDER)))
    assert whole(logs) == expected
    assert most < 64 + 1000 / 64 + 2
    assert written.sum_bytes <= 2 * len(expected)
    logs.mark_complete(KEY, OUT)
    assert len(logs.bucket.list(FOLDER)) == 1000 // 64 + 2
    assert whole(logs) == expected


def test_a_large_append_is_several_parts(logs: ObjectStoreComputeLogManager) -> None:
    """No object, and no request, is larger than 8 MiB."""
    data = bytes(range(256)) * (PART_BYTES // 256) * 2 + b"rest"
    assert logs.append(KEY, OUT, 0, data, complete=True) == len(data)
    assert [entry.size_bytes for entry in logs.bucket.list(FOLDER)] == [PART_BYTES, PART_BYTES, 4, 0]
    assert logs.read(KEY, OUT, PART_BYTES - 3, 6).data == data[PART_BYTES - 3 : PART_BYTES + 3]
    assert whole(logs) == data


def test_a_read_goes_on_when_parts_are_merged_under_it(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that were listed are gone when they are read: it lists again."""
    for number in range(10):
        logs.append(KEY, OUT, number * 4, b"%03d\n" % number)
    listing = logs.bucket.list
    merges: list[int] = []

    def merging(folder: str) -> list[Entry]:
        found = listing(folder)
        if not merges:
            merges.append(1)
            stream = Stream(logs.bucket, folder)
            stream.merge_if_due(stream.close())
        return found

    monkeypatch.setattr(logs.bucket, "list", merging)
    assert whole(logs) == b"".join(b"%03d\n" % number for number in range(10))
    assert merges
    assert len(listing(FOLDER)) == 2


def test_an_end_that_a_merge_swallows_is_put_again(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody appends and merges between the look and the mark: the log is closed all the same, at its end."""
    logs.append(KEY, OUT, 0, b"first\n")
    create = logs.bucket.create
    interrupted: list[str] = []

    def interrupting(name: str, data: bytes) -> bool:
        if not data and not interrupted:
            interrupted.append(name)
            for number in range(70):
                logs.append(KEY, OUT, 6 + number, b".")
        return create(name, data)

    monkeypatch.setattr(logs.bucket, "create", interrupting)
    logs.mark_complete(KEY, OUT)
    found = logs.read(KEY, OUT, 0, 1000)
    assert (found.data, found.complete) == (b"first\n" + b"." * 70, True)


def test_parts_that_are_merged_while_they_are_listed(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing of thousands of objects takes several requests: parts that vanish between two of them, for one that the
    first was too early for, are no bytes that are gone."""
    for number in range(10):
        logs.append(KEY, OUT, 4 * number, b"%03d\n" % number)
    expected = whole(logs)[12:]
    listing = logs.bucket.list
    torn: list[str] = []

    def torn_once(folder: str) -> list[Entry]:
        found = listing(folder)
        if not torn:
            torn.append(folder)
            del found[3:6]
        return found

    monkeypatch.setattr(logs.bucket, "list", torn_once)
    assert logs.read(KEY, OUT, 12, 100).data == expected
    assert torn


def test_what_a_rule_removed_is_expired(logs: ObjectStoreComputeLogManager) -> None:
    """The end is known and the bytes are gone: EXPIRED, not NOT_CAPTURED; what is left can be read."""
    for io in (OUT, ERR):
        logs.append(KEY, io, 0, b"0123456789")
        logs.append(KEY, io, 10, b"abc", complete=True)
    logs.bucket.delete([f"{FOLDER}/{0:020}"])
    assert reason_of(logs, KEY, OUT) == LogUnavailableReason.EXPIRED
    with pytest.raises(LogUnavailable, match="Bytes 0 to 10 of 13"):
        logs.read(KEY, OUT, 9, 100)
    found = logs.read(KEY, OUT, 10, 100)
    assert (found.data, found.size_bytes, found.complete) == (b"abc", 13, True)
    logs.bucket.delete([f"{FOLDER}/{10:020}"])
    for start, max_bytes in ((0, 100), (10, 100), (13, 100), (0, 0)):
        with pytest.raises(LogUnavailable) as gone:
            logs.read(KEY, OUT, start, max_bytes)
        assert gone.value.reason == LogUnavailableReason.EXPIRED
    assert [(file.size_bytes, file.complete) for file in logs.list(["run"])["run"]] == [(13, True), (13, True)]
    assert whole(logs, KEY, ERR) == b"0123456789abc"


def test_what_waits_here_is_not_uploaded_yet(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that this machine has, and the store not yet: the reason says so, and where it is."""

    def away(name: str, data: bytes) -> bool:
        raise StorageUnavailable("planted")

    with monkeypatch.context() as patch:
        patch.setattr(logs.bucket, "create", away)
        capture = begin(logs)
        write(capture, OUT, b"text")
        with pytest.raises(LogUnavailable, match=str(capture.stdout_path.parent)) as waits:
            logs.read(KEY, OUT, 0, 100)
        assert waits.value.reason == LogUnavailableReason.NOT_UPLOADED_YET
        assert reason_of(logs, LogKey("run", "step", 2)) == LogUnavailableReason.NOT_CAPTURED
        assert reason_of(logs, LogKey("run", "other")) == LogUnavailableReason.NOT_CAPTURED
    capture.close()


def test_no_bucket(server: Server, tmp_path: Path) -> None:
    """It is named, with what to do, and never taken for a log that wasn't captured."""
    logs = ObjectStoreComputeLogManager.from_config(s3_config(server, "no-such-bucket"), tmp_path)
    for call in (
        lambda: logs.read(KEY, OUT, 0, 100),
        lambda: logs.list(["run"]),
        lambda: logs.append(KEY, OUT, 0, b"x"),
        lambda: logs.mark_complete(KEY, OUT),
        lambda: logs.delete("run"),
    ):
        with pytest.raises(StorageUnavailable, match=r"no such bucket .* s3://no-such-bucket: .*NoSuchBucket"):
            call()
    health = logs.health()
    assert not health.healthy
    assert health.problem is not None
    assert "Make it, or mend compute_logs in dagster.yaml." in health.problem
    logs.close()


def test_who_may_not_is_told_so(tmp_path: Path) -> None:
    """A store that refuses the keys: FORBIDDEN, with the store's word for it and without the keys."""
    with moto(INITIAL_NO_AUTH_ACTION_COUNT="1") as server:
        make_bucket(server, "logs")
        logs = ObjectStoreComputeLogManager.from_config(s3_config(server, "logs"), tmp_path)
        said = []
        for call in (lambda: logs.read(KEY, OUT, 0, 100), lambda: logs.list(["run"])):
            with pytest.raises(LogUnavailable) as refused:
                call()
            assert refused.value.reason == LogUnavailableReason.FORBIDDEN
            said.append(str(refused.value))
        with pytest.raises(StorageUnavailable, match="refuses this process") as refusal:
            logs.append(KEY, OUT, 0, b"x")
        said += [str(refusal.value), str(logs.health().problem)]
        assert logs.link(KEY, OUT) is None
        logs.close()
    for text in said:
        assert "403 Forbidden" in text
        assert "Check the credentials" in text
        assert "\n" not in text
        assert SECRET_KEY not in text
        assert ACCESS_KEY not in text


def test_nobody_answers(tmp_path: Path) -> None:
    """A sentence, and health within seconds."""
    config = ObjectStoreConfig(bucket="logs", endpoint_url=f"http://127.0.0.1:{free_port()}")
    logs = ObjectStoreComputeLogManager.from_config(config, tmp_path)
    health = logs.health()
    assert not health.healthy
    assert str(health.problem).startswith("The storage does not answer. s3://logs: ")


def test_links_are_given_only_when_configured(server: Server, bucket: str, tmp_path: Path) -> None:
    """An address of a complete log that is one object: whoever has it reads the log without keys, for an hour."""
    logs = ObjectStoreComputeLogManager.from_config(s3_config(server, bucket, presigned_links=True), tmp_path)
    assert logs.link(KEY, OUT) is None
    logs.append(KEY, OUT, 0, b"the whole log")
    assert logs.link(KEY, OUT) is None
    logs.mark_complete(KEY, OUT)
    address = logs.link(KEY, OUT)
    assert address is not None
    with urllib.request.urlopen(address, timeout=WAIT_S) as answer:
        assert answer.read() == b"the whole log"
    assert SECRET_KEY not in address
    assert "X-Amz-Expires=3600" in address
    logs.append(KEY, ERR, 0, b"one ")
    logs.append(KEY, ERR, 4, b"two", complete=True)
    assert logs.link(KEY, ERR) is None, "two objects"
    assert logs.link(LogKey("run", "\0"), OUT) is None
    without = ObjectStoreComputeLogManager.from_config(s3_config(server, bucket), tmp_path)
    assert without.link(KEY, OUT) is None


class Ear(http.server.BaseHTTPRequestHandler):
    """Answers every request with an empty listing, and remembers its headers."""

    heard: list[Any]

    def do_GET(self) -> None:
        """A listing of nothing."""
        self.heard.append(self.headers)
        body = b"<ListBucketResult></ListBucketResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def test_configured_keys_are_used_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a session token nor an address of the environment is mixed with keys of dagster.yaml."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-somebody-else")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    heard: list[Any] = []
    ear = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("OwnEar", (Ear,), {"heard": heard}))
    thread = threading.Thread(target=ear.serve_forever)
    thread.start()
    try:
        server = Server.__new__(Server)
        server.url = f"http://127.0.0.1:{ear.server_port}"
        logs = ObjectStoreComputeLogManager.from_config(s3_config(server, "logs"), tmp_path)
        assert logs.list(["run"])["run"] == []
    finally:
        ear.shutdown()
        ear.server_close()
        thread.join()
    (headers,) = heard
    assert f"Credential={ACCESS_KEY}/" in headers["Authorization"]
    assert headers["x-amz-security-token"] is None


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore is imported when a manager is made, and its absence is no traceback."""
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StorageUnavailable, match=r"pip install 'daglens\[objectstore\]'"):
        ObjectStoreComputeLogManager.from_config(ObjectStoreConfig(bucket="logs"), tmp_path)


def test_a_message_has_no_query() -> None:
    """A shared access signature stands there; and the library's own messages go on for pages."""
    text = (
        "Generic Azure error: Error performing GET https://x.blob.core.windows.net/logs?comp=list&sig=planted in 3ms - "
        "Server returned non-2xx status code: 403 Forbidden: <?xml version='1.0'?>\n<Error><Code>Nope</Code>\nlong"
    )
    said = headline(text)
    assert "planted" not in said
    assert said.endswith("403 Forbidden (Nope).")
    assert "https://x.blob.core.windows.net/logs in 3ms" in said


@pytest.mark.parametrize(("interval_s", "poll_s"), [(0.05, 0.025), (5, 2.0), (3600, 2.0)])
def test_looks_are_rare(tmp_path: Path, interval_s: float, poll_s: float) -> None:
    """Each look at a log is a listing, and shows nothing new before the next upload: every 2 s at the most."""
    logs = in_memory(tmp_path / "spool", upload_interval_s=interval_s)
    assert logs.least_poll_s == poll_s
    logs.close()
