"""Local compute logs keep the contract; and what is special about files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daglens.storage import log_files
from daglens.storage.compute_logs import LocalComputeLogConfig, LocalComputeLogManager, NoOpComputeLogManager
from daglens.storage.contract import ComputeLogManager, NoConfig
from daglens.storage.errors import InvalidName, LogClosed, LogUnavailable, StorageUnavailable
from daglens.storage.records import ComputeIO, LogKey, LogUnavailableReason
from daglens.testing import ComputeLogConformance
from daglens.testing.compute_logs.hostile_names import LOG_NAMES
from daglens.testing.names import IMPOSSIBLE_NAMES

OUT, ERR = ComputeIO.STDOUT, ComputeIO.STDERR
KEY = LogKey("run", "step")


class TestLocalComputeLogManager(ComputeLogConformance):
    @pytest.fixture
    def compute_logs(self, tmp_path: Path):
        return LocalComputeLogManager(tmp_path / "storage")

    @pytest.fixture
    def second(self, tmp_path: Path, compute_logs: ComputeLogManager):
        return LocalComputeLogManager(tmp_path / "storage")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def logs(base: Path) -> LocalComputeLogManager:
    return LocalComputeLogManager(base)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_file_layout(logs: LocalComputeLogManager, base: Path):
    """Files are where the documents say, each stream with its own mark, later attempts numbered."""
    first = logs.capture(KEY)
    first.close()
    logs.append(LogKey("run", "step", 2), ERR, 0, b"x", complete=True)
    logs.mark_complete(LogKey("run", "a/b:c"), OUT, truncated=True)
    assert tree(base) == [
        "run",
        "run/compute_logs",
        "run/compute_logs/a%2Fb%3Ac.out",
        "run/compute_logs/a%2Fb%3Ac.out.complete",
        "run/compute_logs/step.err",
        "run/compute_logs/step.err.complete",
        "run/compute_logs/step.out",
        "run/compute_logs/step.out.complete",
        "run/compute_logs/step~2.err",
        "run/compute_logs/step~2.err.complete",
    ]
    assert (first.stdout_path, first.stderr_path) == tuple(
        base / "run/compute_logs" / n for n in ("step.out", "step.err")
    )


def test_names_too_long_for_a_file_are_kept_beside_it(logs: LocalComputeLogManager, base: Path):
    """A long step key or run id is cut on disk; the whole of it is in a file beside."""
    long = "é" * 255
    logs.append(LogKey(long, long), OUT, 0, b"x")
    (folder,) = base.iterdir()
    assert (folder / ".run-id").read_text() == long
    (key_file,) = (folder / "compute_logs").glob("*.step-key")
    assert key_file.read_text() == long
    assert all(len(path.name.encode()) <= 200 for path in base.rglob("*"))
    assert logs.delete(long) > 0
    assert tree(base) == []


def test_dagsters_bare_mark_closes_both_streams(logs: LocalComputeLogManager, base: Path):
    """`<step>.complete`, as Dagster leaves it, counts for stdout and stderr, and for no other attempt or step."""
    for key in (KEY, LogKey("run", "step", 2), LogKey("run", "step.out")):
        for io in (OUT, ERR):
            logs.append(key, io, 0, b"x")
    (base / "run/compute_logs/step.complete").touch()
    complete = [(f.key.step_key, f.key.attempt, f.io) for f in logs.list(["run"])["run"] if f.complete]
    assert complete == [("step", 1, OUT), ("step", 1, ERR)]
    assert logs.read(KEY, ERR, 0, 1).complete
    assert not logs.read(LogKey("run", "step", 2), OUT, 0, 1).complete
    with pytest.raises(LogClosed):
        logs.append(KEY, OUT, 1, b"y")
    logs.mark_complete(KEY, OUT, truncated=True)
    assert logs.read(KEY, OUT, 0, 1).truncated


def test_a_step_called_like_a_log_file_is_not_closed_by_another(logs: LocalComputeLogManager):
    """The mark of `x`'s stdout is `x.out.complete`: it doesn't close a step that is called `x.out`."""
    logs.append(LogKey("run", "x.out"), OUT, 0, b"a")
    logs.append(LogKey("run", "x"), OUT, 0, b"b", complete=True)
    assert not logs.read(LogKey("run", "x.out"), OUT, 0, 1).complete


def test_what_is_captured_is_read_while_it_is_written(logs: LocalComputeLogManager, base: Path):
    """Another manager on the folder reads each byte as soon as it is written."""
    capture = logs.capture(KEY)
    reader = LocalComputeLogManager(base)
    with open(capture.stdout_path, "ab", buffering=0) as file:
        for number in range(1, 20):
            file.write(b"x")
            assert reader.read(KEY, OUT, 0, 100).data == b"x" * number
    assert not reader.read(KEY, OUT, 0, 100).complete


def test_a_complete_attempt_is_not_captured_again(logs: LocalComputeLogManager):
    """A complete log never grows: capturing the same attempt once more is refused."""
    logs.capture(KEY).close()
    with pytest.raises(LogClosed):
        logs.capture(KEY)
    logs.capture(LogKey("run", "step", 2)).close()


def test_a_capture_of_a_deleted_run_leaves_nothing(logs: LocalComputeLogManager, base: Path):
    """A run deleted while its step is captured: the end of the capture doesn't bring a folder back."""
    capture = logs.capture(KEY)
    logs.delete("run")
    capture.close(truncated=True)
    assert tree(base) == []


def test_nothing_outside_the_base_folder_is_touched(tmp_path: Path):
    """Whatever run id, step key and attempt are called, every file made or read is in the base folder."""
    base = tmp_path / "deep" / "er" / "storage"
    logs = LocalComputeLogManager(base)
    names = (*LOG_NAMES, *IMPOSSIBLE_NAMES, "../../../outside", str(tmp_path / "outside"))
    for name in names:
        for key in (LogKey(name, "step"), LogKey("run", name), LogKey("run", name, -2)):
            try:
                logs.append(key, OUT, 0, b"x", complete=True)
                capture = logs.capture(LogKey(key.run_id, key.step_key, 7))
                capture.close()
                assert capture.stdout_path.is_relative_to(base) and ".." not in capture.stdout_path.parts
            except InvalidName:
                continue
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["storage"]
    depths = {len(path.relative_to(base).parts) for path in base.rglob("*")}
    assert depths == {1, 2, 3}
    for name in ("run", *names):
        logs.delete(name)
    assert tree(base) == []


def test_files_that_are_no_logs_are_not_listed(logs: LocalComputeLogManager, base: Path, tmp_path: Path):
    """Links, folders and names that no step key gives are left out, and links are not followed."""
    logs.append(KEY, OUT, 0, b"x")
    folder = base / "run/compute_logs"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "link.out").symlink_to(secret)
    (folder / "folder.err").mkdir()
    for name in (".hidden.out", "a b.out", "%2f.out", "step~1.out", "step~02.out", "x~y.out", "step.log", "a%.out"):
        (folder / name).write_text("x")
    assert [file.key for file in logs.list(["run"])["run"]] == [KEY]
    with pytest.raises(LogUnavailable) as unavailable:
        logs.read(LogKey("run", "link"), OUT, 0, 100)
    assert unavailable.value.reason == LogUnavailableReason.NOT_CAPTURED


def test_the_latest_attempt_leaves_out_what_is_no_log(logs: LocalComputeLogManager, base: Path, tmp_path: Path):
    """As the list does: folders, links, numbers that no attempt can have."""
    logs.append(LogKey("r", "a", 3), ComputeIO.STDOUT, 0, b"x")
    folder = base / "r" / "compute_logs"
    (folder / "a~4.out").mkdir()
    (folder / "a~5.out").symlink_to(tmp_path)
    for name in ("a~6.txt", "a~7.out.complete", "a~2147483648.out", "a~01.out"):
        (folder / name).touch()
    assert {file.key.attempt for file in logs.list(["r"])["r"] if file.key.step_key == "a"} == {3}
    assert logs.latest_attempt("r", "a") == 3


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each folder that is gone through."""
    found: list[int] = []
    scandir = os.scandir

    def noting(fd: int) -> Any:
        found.append(fd)
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", noting)
    return found


def test_a_folder_is_gone_through_again_only_once_it_has_changed(
    logs: LocalComputeLogManager, scans: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Whoever follows a step asks again and again: a system call for each entry would be paid each time."""
    monkeypatch.setattr(log_files, "_SETTLED_NS", -(10**18))  # as if some time had passed since the change
    for attempt in (1, 2, 3):
        logs.append(LogKey("r", "a", attempt), ComputeIO.STDOUT, 0, b"x")
        assert [logs.latest_attempt("r", "a") for _ in range(3)] == [attempt] * 3
        logs.append(LogKey("r", "a", attempt), ComputeIO.STDOUT, 1, b"y")
        assert logs.latest_attempt("r", "b") == 0
        assert len(scans) == attempt


def test_what_is_known_of_folders_is_bounded(logs: LocalComputeLogManager, monkeypatch: pytest.MonkeyPatch):
    """However many runs are looked at."""
    monkeypatch.setattr(log_files, "_SETTLED_NS", -(10**18))
    monkeypatch.setattr(log_files, "_MOST_KEPT", 3)
    for run in range(10):
        logs.append(LogKey(f"r{run}", "a"), ComputeIO.STDOUT, 0, b"x")
        assert logs.latest_attempt(f"r{run}", "a") == 1
        assert len(logs._latest_attempts._kept) <= 3


def test_a_folder_that_has_just_changed_is_gone_through_again(
    logs: LocalComputeLogManager, scans: list[int], monkeypatch: pytest.MonkeyPatch
):
    """A second change within one tick of the file system's clock would not be seen in the folder's times."""
    monkeypatch.setattr(log_files, "_SETTLED_NS", 10**18)
    logs.append(LogKey("r", "a"), ComputeIO.STDOUT, 0, b"x")
    assert [logs.latest_attempt("r", "a") for _ in range(3)] == [1, 1, 1]
    assert len(scans) == 3


def test_processes_that_append_at_once(tmp_path: Path, base: Path):
    """Four processes send the same numbered pieces, each retrying what it sent: the log has each piece once."""
    source = """
import sys
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.storage.records import ComputeIO, LogKey
logs = LocalComputeLogManager(sys.argv[1])
sys.stdin.readline()
for number in range(300):
    for _ in range(2):
        logs.append(LogKey("run", "step"), ComputeIO.STDOUT, number * 10, b"%09d\\n" % number, complete=number == 299)
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", source, str(base)],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=environment,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    found = LocalComputeLogManager(base).read(KEY, OUT, 0, 10_000)
    assert found.data == b"".join(b"%09d\n" % number for number in range(300))
    assert found.complete


def test_a_base_folder_that_cannot_be_made_is_told(tmp_path: Path):
    """A file where the folder should be: unhealthy, and writing says why; reading finds no log."""
    (tmp_path / "storage").write_text("in the way")
    logs = LocalComputeLogManager(tmp_path / "storage")
    health = logs.health()
    assert not health.healthy and health.problem is not None and str(tmp_path / "storage") in health.problem
    for write in (lambda: logs.append(KEY, OUT, 0, b"x"), lambda: logs.capture(KEY)):
        with pytest.raises(StorageUnavailable):
            write()
    with pytest.raises(LogUnavailable):
        logs.read(KEY, OUT, 0, 1)


def test_negative_offsets_are_refused(logs: LocalComputeLogManager):
    """An offset or start below 0 is the caller's bug."""
    with pytest.raises(ValueError):
        logs.append(KEY, OUT, -1, b"x")
    with pytest.raises(ValueError):
        logs.read(KEY, OUT, -1, 1)


@pytest.mark.parametrize(
    ("configured", "expected"), [(None, "home/storage"), ("logs", "home/logs"), ("/absolute/logs", "/absolute/logs")]
)
def test_where_the_base_folder_is(tmp_path: Path, configured: str | None, expected: str):
    """`storage` in the instance's folder by default; a relative path is below that folder."""
    logs = LocalComputeLogManager.from_config(LocalComputeLogConfig(configured), tmp_path / "home")
    assert logs._folders.base == tmp_path / expected


class TestNoOpComputeLogManager:
    """A manager that keeps nothing says so, and nothing fails."""

    @pytest.fixture
    def logs(self, tmp_path: Path):
        return NoOpComputeLogManager.from_config(NoConfig(), tmp_path)

    def test_nothing_is_captured(self, logs: NoOpComputeLogManager):
        """capture gives None, append takes everything, read says NOT_CAPTURED, nothing is listed or deleted."""
        assert isinstance(logs, ComputeLogManager)
        assert logs.health().healthy
        assert logs.capture(KEY) is None
        assert logs.append(KEY, OUT, 5, b"text", complete=True) == 9
        logs.mark_complete(KEY, OUT)
        assert dict(logs.list(["run"])) == {"run": []}
        assert logs.delete("run") == 0
        assert logs.link(KEY, OUT) is None
        with pytest.raises(LogUnavailable) as caught:
            logs.read(KEY, OUT, 0, 10)
        assert caught.value.reason == "NOT_CAPTURED"
