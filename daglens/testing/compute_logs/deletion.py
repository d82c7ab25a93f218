"""Deleting the logs of a run."""

from __future__ import annotations

from daglens.storage.contract import ComputeLogManager
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, KEY, OUT, ComputeLogTopic, begin, is_missing, whole, write


class LogDeletion(ComputeLogTopic):
    """`delete`."""

    def test_everything_of_the_run_goes(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """All steps, attempts, streams and marks are gone, and the answer is how many bytes of logs went."""
        for step_key in ("a", "b", "x" * 255):
            for attempt in (1, 2):
                compute_logs.append(LogKey("run", step_key, attempt), OUT, 0, b"12345", complete=True)
        capture = begin(compute_logs)
        write(capture, ERR, b"1234567")
        capture.close(truncated=True)
        freed = compute_logs.delete("run")
        assert 37 <= freed < 37 + 2000, "the bytes of the logs; what the storage keeps beside them may count"
        assert is_missing(second, KEY)
        assert is_missing(second, LogKey("run", "a", 2))
        assert not list(second.list(["run"]).get("run", ()))
        assert compute_logs.delete("run") == 0

    def test_a_log_made_anew_remembers_nothing(self, compute_logs: ComputeLogManager) -> None:
        """After deletion the same key begins at 0, open."""
        compute_logs.append(KEY, OUT, 0, b"old", complete=True)
        compute_logs.delete("run")
        assert compute_logs.append(KEY, OUT, 0, b"new log") == 7
        found = compute_logs.read(KEY, OUT, 0, 100)
        assert (found.data, found.complete) == (b"new log", False)

    def test_other_runs_stay(self, compute_logs: ComputeLogManager) -> None:
        """Runs whose ids begin or end alike keep their logs."""
        others = ("ru", "run2", "run.", "Run", "run-", "a run", "run/step", "run%", "*")
        for run_id in ("run", *others):
            compute_logs.append(LogKey(run_id, "step"), OUT, 0, run_id.encode(), complete=True)
        compute_logs.delete("run")
        for run_id in others:
            assert whole(compute_logs, LogKey(run_id, "step")) == run_id.encode()
        compute_logs.delete("*")
        assert whole(compute_logs, LogKey("run2", "step")) == b"run2"

    def test_a_capture_that_ends_later_is_no_error(self, compute_logs: ComputeLogManager) -> None:
        """A run deleted while a step is captured: `close` raises nothing, and deleting again takes what it left."""
        capture = begin(compute_logs)
        write(capture, OUT, b"text")
        compute_logs.delete("run")
        capture.close()
        compute_logs.delete("run")
        assert not list(compute_logs.list(["run"]).get("run", ()))
