"""Which logs runs have."""

from __future__ import annotations

from daglens.storage.contract import ComputeLogManager
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, OUT, ComputeLogTopic, begin, named, write


class LogListing(ComputeLogTopic):
    """`list` and `latest_attempt`."""

    def test_order(self, compute_logs: ComputeLogManager) -> None:
        """By step key (code points), attempt (as a number), stdout before stderr."""
        expected = [
            (step_key, attempt, io)
            for step_key in ("B", "a", "a b", "a-b", "a.b", "ab", "z", "é", "😀")
            for attempt in (1, 2, 10)
            for io in (OUT, ERR)
        ]
        for step_key, attempt, io in reversed(expected):
            compute_logs.append(LogKey("run", step_key, attempt), io, 0, b"x")
        assert named(compute_logs.list(["run"])["run"]) == expected

    def test_each_run_has_its_own(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """Several runs in one call; a run without logs has none; keys and streams are those that were written."""
        for run_id in ("a", "ab", "b"):
            compute_logs.append(LogKey(run_id, f"step of {run_id}", 2), ERR, 0, b"text")
        found = second.list(["b", "none", "a"])
        assert set(found) <= {"a", "b", "none"}
        assert not list(found.get("none", ()))
        for run_id in ("a", "b"):
            assert [file.key for file in found[run_id]] == [LogKey(run_id, f"step of {run_id}", 2)]
            assert named(found[run_id]) == [(f"step of {run_id}", 2, ERR)]

    def test_what_is_listed_is_what_is_read(self, compute_logs: ComputeLogManager) -> None:
        """Size, complete and truncated agree with a read; each log says where it is kept."""
        capture = begin(compute_logs, LogKey("run", "captured"))
        write(capture, OUT, b"12345")
        capture.close(truncated=True)
        compute_logs.append(LogKey("run", "sent"), OUT, 0, b"123", complete=True)
        compute_logs.append(LogKey("run", "sent"), ERR, 0, b"1")
        files = compute_logs.list(["run"])["run"]
        assert [(file.size_bytes, file.complete, file.truncated) for file in files] == [
            (5, True, True),
            (0, True, True),
            (3, True, False),
            (1, False, False),
        ]
        for file in files:
            found = compute_logs.read(file.key, file.io, 0, 100)
            assert (found.size_bytes, found.complete, found.truncated) == (
                file.size_bytes,
                file.complete,
                file.truncated,
            )
        assert len({file.location for file in files}) == len(files)

    def test_many(self, compute_logs: ComputeLogManager) -> None:
        """Five hundred logs of one run are all listed."""
        for number in range(500):
            compute_logs.append(LogKey("run", f"step {number:03}"), OUT, 0, b"x")
        assert named(compute_logs.list(["run"])["run"]) == [(f"step {number:03}", 1, OUT) for number in range(500)]

    def test_the_latest_attempt(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """The highest number that is listed for a step, at once when there is a new one; 0 for a step without a log."""
        assert second.latest_attempt("run", "a") == 0
        for attempt, io in ((2, ERR), (1, OUT), (10, OUT)):
            compute_logs.append(LogKey("run", "a", attempt), io, 0, b"x")
            listed = [file.key.attempt for file in second.list(["run"])["run"] if file.key.step_key == "a"]
            assert second.latest_attempt("run", "a") == max(listed)
        compute_logs.append(LogKey("run", "a b", 3), OUT, 0, b"x")
        compute_logs.append(LogKey("other", "a", 11), OUT, 0, b"x")
        assert [second.latest_attempt("run", step_key) for step_key in ("a", "a b", "b", "", "a~2")] == [10, 3, 0, 0, 0]
        long = "é" * 200
        compute_logs.append(LogKey("run", long, 4), ERR, 0, b"x")
        assert second.latest_attempt("run", long) == 4
        compute_logs.delete("run")
        assert second.latest_attempt("run", "a") == 0
