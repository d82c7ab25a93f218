"""Reads from an offset."""

from __future__ import annotations

from daglens.storage.contract import ComputeLogManager
from daglens.testing.compute_logs.topic import EVERY_BYTE, KEY, OUT, ComputeLogTopic, begin, is_missing, write


class LogReading(ComputeLogTopic):
    """Any part of a log, while it grows and afterwards."""

    def test_any_part_of_any_size(self, compute_logs: ComputeLogManager) -> None:
        """From each offset on at most so many bytes, exactly those that were written there; and the whole size."""
        compute_logs.append(KEY, OUT, 0, EVERY_BYTE)
        for start in (0, 1, 127, 128, 255, 256, len(EVERY_BYTE) - 1):
            for max_bytes in (1, 2, 100, 10_000):
                found = compute_logs.read(KEY, OUT, start, max_bytes)
                assert found.data == EVERY_BYTE[start : start + max_bytes]
                assert found.size_bytes == len(EVERY_BYTE)

    def test_no_bytes(self, compute_logs: ComputeLogManager) -> None:
        """At or beyond the end, and for none asked, there are no bytes; the size is told all the same."""
        compute_logs.append(KEY, OUT, 0, b"01234")
        for start, max_bytes in ((5, 100), (6, 100), (2**40, 100), (0, 0), (3, 0)):
            found = compute_logs.read(KEY, OUT, start, max_bytes)
            assert (found.data, found.size_bytes) == (b"", 5)

    def test_a_walk_while_it_is_written(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """A reader that goes on from where it stopped gets every byte once, and the end only at the end."""
        expected, got = b"", b""
        for number in range(50):
            piece = b"line %d \xe2\x82\xac\n" % number
            last = number == 49
            compute_logs.append(KEY, OUT, len(expected), piece, complete=last)
            expected += piece
            found = second.read(KEY, OUT, len(got), 9)
            got += found.data
            assert found.complete == last
        while len(got) < found.size_bytes:
            found = second.read(KEY, OUT, len(got), 9)
            assert found.data
            got += found.data
        assert got == expected

    def test_a_large_log(self, compute_logs: ComputeLogManager) -> None:
        """5 MiB come back in reads of 1 MiB, and the end of them alone."""
        block = bytes(range(256)) * 4096
        capture = begin(compute_logs)
        for _ in range(5):
            write(capture, OUT, block)
        capture.close()
        for start in range(0, 5 * len(block), len(block)):
            assert compute_logs.read(KEY, OUT, start, len(block)).data == block
        tail = compute_logs.read(KEY, OUT, 5 * len(block) - 300, len(block))
        assert (tail.data, tail.size_bytes) == (block[-300:], 5 * len(block))

    def test_reading_makes_nothing(self, compute_logs: ComputeLogManager) -> None:
        """A read of a log that isn't there leaves none behind."""
        assert is_missing(compute_logs, KEY)
        assert is_missing(compute_logs, KEY)
        assert not list(compute_logs.list(["run"]).get("run", ()))
