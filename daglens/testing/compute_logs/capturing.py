"""Capture: files that a step's descriptors are written to."""

from __future__ import annotations

import subprocess

from daglens.storage.contract import ComputeLogManager
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import (
    ERR,
    EVERY_BYTE,
    KEY,
    OUT,
    ComputeLogTopic,
    begin,
    is_missing,
    named,
    whole,
    write,
)


class LogCapturing(ComputeLogTopic):
    """From `capture` to `close`."""

    def test_the_log_is_there_from_the_beginning(
        self, compute_logs: ComputeLogManager, second: ComputeLogManager
    ) -> None:
        """Both streams exist, empty and open, as soon as `capture` returns."""
        capture = begin(compute_logs)
        assert capture.stdout_path.read_bytes() == capture.stderr_path.read_bytes() == b""
        for io in (OUT, ERR):
            found = second.read(KEY, io, 0, 100)
            assert (found.data, found.complete, found.truncated) == (b"", False, False)
        assert named(second.list(["run"])["run"]) == [("step", 1, OUT), ("step", 1, ERR)]
        capture.close()

    def test_every_byte_is_kept_to_the_last(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """What was written before `close` is in the log after it, byte for byte, each stream its own."""
        capture = begin(compute_logs)
        for number in range(100):
            write(capture, OUT, b"out %d\n" % number)
            write(capture, ERR, b"err %d\n" % number)
        write(capture, OUT, EVERY_BYTE)
        capture.close()
        assert whole(second, KEY, OUT) == b"".join(b"out %d\n" % number for number in range(100)) + EVERY_BYTE
        assert whole(second, KEY, ERR) == b"".join(b"err %d\n" % number for number in range(100))

    def test_other_programs_write_to_the_files(self, compute_logs: ComputeLogManager) -> None:
        """A child process with the files as its descriptors is in the log."""
        capture = begin(compute_logs)
        with open(capture.stdout_path, "ab") as out, open(capture.stderr_path, "ab") as err:
            subprocess.run(["sh", "-c", "echo out; echo err >&2"], stdout=out, stderr=err, check=True)
        capture.close()
        assert (whole(compute_logs, KEY, OUT), whole(compute_logs, KEY, ERR)) == (b"out\n", b"err\n")

    def test_close_completes_both_streams(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """After `close` both streams are complete and not truncated; closing again is harmless."""
        capture = begin(compute_logs)
        write(capture, OUT, b"all of it")
        capture.close()
        capture.close()
        for io in (OUT, ERR):
            found = second.read(KEY, io, 0, 100)
            assert (found.complete, found.truncated) == (True, False)
        assert all(file.complete and not file.truncated for file in second.list(["run"])["run"])

    def test_a_truncated_capture_says_so(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """`close(truncated=True)`: the log is complete, and more was written than is kept."""
        capture = begin(compute_logs)
        write(capture, OUT, b"what fitted")
        capture.close(truncated=True)
        found = second.read(KEY, OUT, 0, 100)
        assert (found.data, found.complete, found.truncated) == (b"what fitted", True, True)
        assert all(file.complete and file.truncated for file in second.list(["run"])["run"])

    def test_attempts_have_files_of_their_own(self, compute_logs: ComputeLogManager) -> None:
        """A retry's log is its own, and the first attempt's stays as it was."""
        for attempt in (1, 2, 11):
            capture = begin(compute_logs, LogKey("run", "step", attempt))
            write(capture, OUT, b"attempt %d" % attempt)
            capture.close(truncated=attempt == 2)
        for attempt in (1, 2, 11):
            found = compute_logs.read(LogKey("run", "step", attempt), OUT, 0, 100)
            assert (found.data, found.truncated) == (b"attempt %d" % attempt, attempt == 2)
        assert is_missing(compute_logs, LogKey("run", "step", 3))

    def test_captures_at_once(self, compute_logs: ComputeLogManager) -> None:
        """Steps that run side by side have a log each."""
        keys = [LogKey(f"run {number % 3}", f"step {number}") for number in range(9)]
        captures = [begin(compute_logs, key) for key in keys]
        for key, capture in zip(keys, captures, strict=True):
            write(capture, OUT, key.step_key.encode())
        for capture in reversed(captures):
            capture.close()
        for key in keys:
            assert whole(compute_logs, key) == key.step_key.encode()
