"""What a step writes reaches the store while it runs, whatever the store and the network do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daglens.storage.errors import LogClosed, LogUnavailable, StorageUnavailable
from daglens.storage.object_store import ObjectStoreComputeLogManager, capture_upload, uploads
from daglens.storage.object_store import spool as spool_module
from daglens.storage.object_store.chain import MERGE_COUNT
from daglens.storage.object_store.spool import Spool
from daglens.storage.object_store.workers import Job, Workers
from daglens.storage.records import LogKey, LogUnavailableReason
from daglens.testing.compute_logs.topic import ERR, KEY, OUT, begin, is_missing, reason_of, whole, write
from tests.storages.object_stores import WAIT_S, Written, eventually, in_memory


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[ObjectStoreComputeLogManager]:
    """The manager of the machine that a step runs on."""
    manager = in_memory(tmp_path / "spool")
    yield manager
    manager.close()


@pytest.fixture
def reader(logs: ObjectStoreComputeLogManager, tmp_path: Path) -> ObjectStoreComputeLogManager:
    """That of a server on another machine."""
    return in_memory(tmp_path / "spool of the server", logs.bucket.store)


class Outage:
    """A store that refuses to create objects while `on`; what it refused is counted."""

    def __init__(self, logs: ObjectStoreComputeLogManager, patch: pytest.MonkeyPatch) -> None:
        self.on = True
        self.refused = 0
        self._create = logs.bucket.create
        patch.setattr(logs.bucket, "create", self.create)

    def create(self, name: str, data: bytes) -> bool:
        if self.on:
            self.refused += 1
            raise StorageUnavailable("planted: no route to the store")
        return self._create(name, data)


def has(logs: ObjectStoreComputeLogManager, expected: bytes) -> bool:
    return has_size(logs, len(expected)) and whole(logs) == expected


def has_size(logs: ObjectStoreComputeLogManager, size_bytes: int) -> bool:
    return logs.read(KEY, OUT, 0, 0).size_bytes == size_bytes


def is_closed(logs: ObjectStoreComputeLogManager, key: LogKey) -> bool:
    try:
        return logs.read(key, OUT, 0, 0).complete
    except LogUnavailable:
        return False


def spooled(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_it_is_live(logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager) -> None:
    """A server elsewhere reads what was written while the step runs."""
    capture = begin(logs)
    expected = b""
    for number in range(3):
        expected += b"line %d\n" % number
        write(capture, OUT, b"line %d\n" % number)
        eventually(partial(has, reader, expected), "what was written is in the store")
        assert not reader.read(KEY, OUT, 0, 0).complete
    capture.close()


def test_nothing_stays_on_the_machine(logs: ObjectStoreComputeLogManager, tmp_path: Path) -> None:
    """Once a log is complete in the store its spool is gone."""
    capture = begin(logs)
    write(capture, OUT, b"text")
    assert spooled(tmp_path / "spool")
    capture.close()
    assert not spooled(tmp_path / "spool")


def test_each_byte_is_sent_twice_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small parts become few objects, at a cost that grows with the log and not with its square; what it
    is made of meanwhile is the log at each moment."""
    logs = in_memory(tmp_path / "spool", upload_interval_s=0.001)
    reader = in_memory(tmp_path / "spool of another", logs.bucket.store)
    sent = Written(logs, monkeypatch)
    capture = begin(logs)
    expected = b""
    for number in range(3 * MERGE_COUNT + 10):
        piece = b"%05d\n" % number * 100
        write(capture, OUT, piece)
        expected += piece
        eventually(partial(has_size, reader, len(expected)), "the part is there")
    assert whole(reader) == expected
    assert len(logs.bucket.list("daglens/run/step~1/out")) < 2 * MERGE_COUNT, "merged while it grows"
    capture.close()
    assert whole(reader) == expected
    assert sent.sum_bytes < 2 * len(expected) + 2000
    objects = logs.bucket.list("daglens/run/step~1/out")
    assert len(objects) == 6, "four merged parts, the end, and the mark that it was opened"
    logs.close()


def test_an_attempt_is_captured_once(logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager) -> None:
    """A complete log takes nothing more; the error comes before anything is written."""
    begin(logs).close()
    for manager in (logs, reader):
        with pytest.raises(LogClosed):
            manager.capture(KEY)


def test_an_open_log_is_gone_on_with(logs: ObjectStoreComputeLogManager) -> None:
    """What was appended before stands before what the capture brings."""
    logs.append(KEY, OUT, 0, b"sent; ")
    capture = begin(logs)
    write(capture, OUT, b"written")
    capture.close()
    assert whole(logs) == b"sent; written"


def test_two_writers_of_one_log_lose_nothing(
    logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager
) -> None:
    """Two processes that run the same attempt by mistake: every line of both is there, and whole."""
    captures = [begin(logs), begin(reader)]
    for number in range(100):
        for writer, capture in enumerate(captures):
            write(capture, OUT, b"line %d of %d\n" % (number, writer))
    eventually(partial(has_size, logs, 2 * 1290), "all is in the store")
    for capture in captures:
        capture.close()
    lines = whole(logs).splitlines()
    assert sorted(lines) == sorted(b"line %d of %d" % (number, writer) for number in range(100) for writer in (0, 1))
    reader.close()


@pytest.mark.parametrize("second", [b"of the quiet one\n", b"much of the quiet one\n" * 500], ids=["short", "long"])
def test_a_quiet_writer_beside_a_busy_one(
    logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager, second: bytes
) -> None:
    """Parts of the busy one were merged since the quiet one wrote last, and the name of its next part is free again:
    nothing of either is lost."""
    capture = begin(logs)
    write(capture, OUT, b"begin\n")
    eventually(lambda: has(logs, b"begin\n"), "it is in the store")
    busy = [b"busy %03d\n" % number for number in range(MERGE_COUNT + 10)]
    for number, line in enumerate(busy):
        reader.append(KEY, OUT, 6 + 9 * number, line)
    write(capture, OUT, second)
    capture.close()
    eventually(partial(is_closed, reader, KEY), "it is sent")
    assert whole(reader) == b"begin\n" + b"".join(busy) + second


def test_a_part_whose_answer_was_lost_is_stored_once(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request arrived, the answer didn't, and the step wrote more before the retry: each byte is there once."""
    create = logs.bucket.create
    lost: list[str] = []
    capture = begin(logs)

    def loses_answers(name: str, data: bytes) -> bool:
        stored = create(name, data)
        if stored and name not in lost and data:
            lost.append(name)
            write(capture, OUT, b"and more\n" if len(lost) < 4 else b"")
            raise StorageUnavailable("planted: connection reset")
        return stored

    monkeypatch.setattr(logs.bucket, "create", loses_answers)
    write(capture, OUT, b"a line\n")
    capture.close()
    eventually(lambda: logs.read(KEY, OUT, 0, 0).complete, "the log is complete")
    assert whole(logs) == b"a line\n" + b"and more\n" * 3
    assert len(lost) >= 3


def test_an_outage_never_fails_a_step(
    logs: ObjectStoreComputeLogManager,
    reader: ObjectStoreComputeLogManager,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """While the store is away steps begin, write and end; it is said once; afterwards every log is there and whole."""
    outage = Outage(logs, monkeypatch)
    for number in range(5):
        capture = begin(logs, LogKey("run", f"step {number}"))
        write(capture, OUT, b"of step %d" % number)
        capture.close(truncated=number == 3)
    assert outage.refused
    said = capsys.readouterr().err
    assert said.count("daglens:") == 1
    assert "kept in" in said and "no route to the store" in said
    assert is_missing(reader, LogKey("run", "step 1"))
    assert reason_of(logs, LogKey("run", "step 1")) == LogUnavailableReason.NOT_UPLOADED_YET
    outage.on = False
    for number in range(5):
        key = LogKey("run", f"step {number}")
        eventually(partial(is_closed, reader, key), "it is sent")
        found = reader.read(key, OUT, 0, 100)
        assert (found.data, found.truncated) == (b"of step %d" % number, number == 3)
    eventually(lambda: not spooled(tmp_path / "spool"), "the spool is empty")
    assert capsys.readouterr().err == ""


def test_a_store_that_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`close` of a capture and of the manager come back although a request doesn't, and say what is left where; the
    next process sends it."""
    logs = in_memory(tmp_path / "spool", close_timeout_s=0.1)
    capture = begin(logs)
    create = logs.bucket.create
    hangs, goes_on = threading.Event(), threading.Event()

    def hanging(name: str, data: bytes) -> bool:
        hangs.set()
        assert goes_on.wait(WAIT_S)
        raise StorageUnavailable("planted: given up at last")

    monkeypatch.setattr(logs.bucket, "create", hanging)
    write(capture, OUT, b"text")
    assert hangs.wait(WAIT_S)
    capture.close()
    logs.close()
    said = capsys.readouterr().err.splitlines()
    assert "not all in memory://logs/daglens after 0.1 s" in said[0]
    assert f"1 compute logs are not all in memory://logs/daglens. They stay in {tmp_path / 'spool'}" in said[-1]
    goes_on.set()
    monkeypatch.setattr(logs.bucket, "create", create)
    following = in_memory(tmp_path / "spool", logs.bucket.store)
    eventually(lambda: following.finish_leftovers(WAIT_S).left == 0 and not spooled(tmp_path / "spool"), "it is sent")
    found = following.read(KEY, OUT, 0, 100)
    assert (found.data, found.complete) == (b"text", True)
    following.close()


def test_the_end_of_the_process_sends_what_open_steps_wrote(tmp_path: Path) -> None:
    """`close` with a step still open: what it wrote is there, the log is not complete, and nobody waits for its end."""
    logs = in_memory(tmp_path / "spool", upload_interval_s=3600, close_timeout_s=3600)
    capture = begin(logs)
    write(capture, ERR, b"so far")
    logs.close()
    reader = in_memory(tmp_path / "spool of another", logs.bucket.store)
    found = reader.read(KEY, ERR, 0, 100)
    assert (found.data, found.complete) == (b"so far", False)


def test_nobody_waits_out_a_pause_once_the_store_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After failures the pauses grow; the first request that works ends those of all others."""
    monkeypatch.setattr(capture_upload, "_FIRST_RETRY_S", 3600.0)
    logs = in_memory(tmp_path / "spool", upload_interval_s=3600)
    outage = Outage(logs, monkeypatch)
    begin(logs).close()
    eventually(lambda: outage.refused == 2, "both rounds have failed, of the beginning and of the end")
    outage.on = False
    begin(logs, LogKey("run", "later"))
    eventually(partial(is_closed, logs, KEY), "the first is sent")
    logs.close()


def test_work_that_comes_while_a_job_is_at_work_is_done() -> None:
    """A job that is woken while it runs runs again, however long its pause; none runs twice at once."""
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)
    at_once: list[int] = []

    def work() -> float:
        at_once.append(1)
        assert len(at_once) == 1
        began.release()
        go_on.acquire(timeout=WAIT_S)
        at_once.pop()
        return 3600.0

    workers = Workers(4, "test")
    job = Job(work)
    workers.add(job)
    assert began.acquire(timeout=WAIT_S)
    workers.wake(job)
    go_on.release()
    assert began.acquire(timeout=WAIT_S), "it ran again"
    go_on.release()
    workers.stop(WAIT_S)


def test_a_long_outage_takes_few_descriptors(
    logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of steps that end while the store is away wait on disk, not in the process, and are all sent."""
    outage = Outage(logs, monkeypatch)
    for number in range(300):
        capture = begin(logs, LogKey("run", f"step {number}"))
        write(capture, OUT, b"of step %d" % number)
        capture.close()
    eventually(lambda: held(logs) < 100, "most are let go")
    outage.on = False
    eventually(lambda: logs.finish_leftovers(WAIT_S).left == 0 and len(done(reader)) == 300, "all are sent")
    assert whole(reader, LogKey("run", "step 299")) == b"of step 299"


def held(logs: ObjectStoreComputeLogManager) -> int:
    (of_process,) = logs._uploads.values()
    return len(of_process._uploads)


def done(logs: ObjectStoreComputeLogManager) -> list[Any]:
    return [file for file in logs.list(["run"])["run"] if file.complete and file.io is OUT]


def test_a_run_deleted_elsewhere_stays_deleted(
    logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager, tmp_path: Path
) -> None:
    """A server deletes the run while its step runs: what the step still writes leaves nothing behind."""
    capture = begin(logs)
    write(capture, OUT, b"before")
    eventually(lambda: whole(reader) == b"before", "it is in the store")
    reader.delete("run")
    write(capture, OUT, b"after")
    eventually(lambda: bool(logs.bucket.list("daglens/run")), "the upload doesn't know yet")
    capture.close()
    assert logs.bucket.list("daglens") == []
    assert not spooled(tmp_path / "spool")


def test_a_run_deleted_here_while_a_request_hangs(
    logs: ObjectStoreComputeLogManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleting doesn't wait for it for ever; what it brings when it arrives at last is removed, too."""
    monkeypatch.setattr(uploads, "_DROP_WAIT_S", 0.01)
    capture = begin(logs)
    write(capture, OUT, b"before")
    eventually(lambda: has(logs, b"before"), "it is in the store")
    create = logs.bucket.create
    hangs, goes_on, arrived = threading.Event(), threading.Event(), threading.Event()

    def hanging(name: str, data: bytes) -> bool:
        hangs.set()
        assert goes_on.wait(WAIT_S)
        stored = create(name, data)
        arrived.set()
        return stored

    monkeypatch.setattr(logs.bucket, "create", hanging)
    write(capture, OUT, b"after")
    assert hangs.wait(WAIT_S)
    logs.delete("run")
    goes_on.set()
    assert arrived.wait(WAIT_S)
    eventually(lambda: not capture.stdout_path.exists(), "the spool is gone")
    assert logs.bucket.list("daglens") == []


def kill(logs: ObjectStoreComputeLogManager) -> None:
    """What is left of a manager when its process is killed: requests are made no more, and its spools are free."""
    (of_process,) = logs._uploads.values()
    of_process._workers.stop(WAIT_S)
    for upload in list(of_process._uploads):
        upload.spool.release()
    logs._uploads.clear()


def test_a_run_deleted_elsewhere_while_its_worker_dies(
    logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager, tmp_path: Path
) -> None:
    """What the worker sent after the deletion is no log for its successor to go on with: nothing is left behind."""
    capture = begin(logs)
    write(capture, OUT, b"before")
    eventually(lambda: whole(reader) == b"before", "it is in the store")
    reader.delete("run")
    write(capture, OUT, b"after")
    eventually(lambda: bool(logs.bucket.list("daglens/run")), "the upload doesn't know yet")
    kill(logs)
    following = in_memory(tmp_path / "spool", logs.bucket.store)
    assert following.finish_leftovers(WAIT_S).left == 0
    assert logs.bucket.list("daglens") == []
    assert not spooled(tmp_path / "spool")
    following.close()


def test_a_spool_that_is_removed_while_another_process_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finds nothing to do, and leaves no folder behind."""
    ours = Spool.begin(tmp_path / "spool", KEY, "memory://logs/daglens")
    lock = spool_module._lock

    def lock_late(folder: Path) -> int | None:
        for name in ("spool.json", "stdout", "stderr", "lock"):
            (folder / name).unlink()
        return lock(folder)

    monkeypatch.setattr(spool_module, "_lock", lock_late)
    assert Spool.take(ours.folder, "memory://logs/daglens") is None
    ours.release()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("late", [b"se", b"second, third", b"another"], ids=["less", "more", "somebody else's"])
def test_a_request_that_arrives_after_its_process_was_killed(
    logs: ObjectStoreComputeLogManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bytes
) -> None:
    """Its part is stored between its successor's look at the log and the successor's own part: each byte is there once,
    and what somebody else wrote stays."""
    capture = begin(logs)
    write(capture, OUT, b"first, ")
    eventually(lambda: has(logs, b"first, "), "it is in the store")
    kill(logs)
    write(capture, OUT, b"second, ")
    following = in_memory(tmp_path / "spool", logs.bucket.store)
    create = following.bucket.create
    arrived: list[str] = []

    def after_the_late_one(name: str, data: bytes) -> bool:
        if data == b"second, " and not arrived:
            arrived.append(name)
            with open(capture.stdout_path, "ab") as file:
                file.write(b"third")
            assert create(name, late)
        return create(name, data)

    monkeypatch.setattr(following.bucket, "create", after_the_late_one)
    assert following.finish_leftovers(WAIT_S).left == 0
    assert arrived
    assert whole(following) == b"first, " + (b"another" if late == b"another" else b"") + b"second, third"
    following.close()


def test_a_run_deleted_here_is_sent_no_more(logs: ObjectStoreComputeLogManager, tmp_path: Path) -> None:
    """Deleting takes the spool of a step that still runs, and its end brings nothing back."""
    capture = begin(logs)
    other = begin(logs, LogKey("another run", "step"))
    write(capture, OUT, b"text")
    logs.delete("run")
    eventually(lambda: not capture.stdout_path.exists(), "the spool is gone")
    capture.close()
    assert logs.bucket.list("daglens/run") == []
    write(other, OUT, b"kept")
    other.close()
    assert whole(logs, LogKey("another run", "step")) == b"kept"


def test_a_run_deleted_here_leaves_no_spool_of_the_dead(tmp_path: Path) -> None:
    """What a killed process left of the run in the spool is not sent after its deletion."""
    killed = in_memory(tmp_path / "spool", upload_interval_s=3600)
    capture = begin(killed)
    other = begin(killed, LogKey("another run", "step"))
    (uploads,) = killed._uploads.values()
    uploads._workers.stop(WAIT_S)
    for upload in list(uploads._uploads):
        upload.spool.release()
    server = in_memory(tmp_path / "spool", killed.bucket.store)
    server.delete("run")
    assert not capture.stdout_path.exists()
    assert other.stdout_path.exists()
    assert server.bucket.list("daglens/run") == []


def test_a_step_key_too_long_for_a_name_is_told(logs: ObjectStoreComputeLogManager) -> None:
    """It is kept beside the log, and the listing has it."""
    key = LogKey("run", "ü" * 255)
    begin(logs, key).close()
    assert [file.key for file in logs.list(["run"])["run"]] == [key, key]


def test_a_log_closed_by_somebody_else_says_that_it_was_cut(
    logs: ObjectStoreComputeLogManager, reader: ObjectStoreComputeLogManager, tmp_path: Path
) -> None:
    """What the step wrote after that isn't kept, and the log says so."""
    capture = begin(logs)
    write(capture, OUT, b"before")
    eventually(lambda: whole(reader) == b"before", "it is in the store")
    reader.mark_complete(KEY, OUT)
    write(capture, OUT, b"after")
    eventually(lambda: not capture.stdout_path.exists(), "the upload is over")
    capture.close()
    found = reader.read(KEY, OUT, 0, 100)
    assert (found.data, found.complete, found.truncated) == (b"before", True, True)
    assert reader.read(KEY, ERR, 0, 100).complete
