"""Which logs runs have."""

from __future__ import annotations

from daglens.storage.contract import ComputeLogManager
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, OUT, ComputeLogTopic, begin, named, write


class LogListing(ComputeLogTopic):
    """`list`."""

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
