"""Append at an offset: what a recorder sends over the network, retries included."""

from __future__ import annotations

from functools import partial

import pytest

from daglens.storage.contract import ComputeLogManager
from daglens.storage.errors import LogClosed, LogGap
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, EVERY_BYTE, KEY, OUT, ComputeLogTopic, is_missing, whole
from daglens.testing.threads import together


class LogAppending(ComputeLogTopic):
    """Bytes that say where they begin."""

    def test_pieces_add_up(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """Pieces in order give the whole, byte for byte; each answer is the size afterwards."""
        size = 0
        for start in range(0, len(EVERY_BYTE), 7):
            piece = EVERY_BYTE[start : start + 7]
            size += len(piece)
            assert compute_logs.append(KEY, OUT, start, piece) == size
        assert whole(second) == EVERY_BYTE
        assert compute_logs.append(KEY, ERR, 0, b"err") == 3
        assert whole(second, KEY, ERR) == b"err"

    def test_a_repeated_piece_is_stored_once(self, compute_logs: ComputeLogManager) -> None:
        """A writer that got no answer sends again: what is there already is skipped, what is new is appended."""
        assert compute_logs.append(KEY, OUT, 0, b"0123456789") == 10
        assert compute_logs.append(KEY, OUT, 0, b"0123456789") == 10
        assert compute_logs.append(KEY, OUT, 4, b"456") == 10
        assert compute_logs.append(KEY, OUT, 8, b"89abc") == 13
        assert compute_logs.append(KEY, OUT, 0, b"") == 13
        assert whole(compute_logs) == b"0123456789abc"

    def test_a_gap_is_refused(self, compute_logs: ComputeLogManager) -> None:
        """An offset beyond the end stores nothing, and the error tells the size; also for a log that isn't there."""
        with pytest.raises(LogGap) as missing:
            compute_logs.append(KEY, OUT, 1, b"late")
        assert missing.value.size_bytes == 0
        assert is_missing(compute_logs, KEY)
        compute_logs.append(KEY, OUT, 0, b"01234")
        for offset in (6, 100, 2**40):
            with pytest.raises(LogGap) as gap:
                compute_logs.append(KEY, OUT, offset, b"late", complete=True)
            assert gap.value.size_bytes == 5
        found = compute_logs.read(KEY, OUT, 0, 100)
        assert (found.data, found.complete) == (b"01234", False)

    def test_the_last_piece_closes_the_stream(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """With `complete` the stream is closed behind the piece; the other stream and other attempts stay open."""
        compute_logs.append(KEY, OUT, 0, b"begin ")
        compute_logs.append(KEY, ERR, 0, b"err")
        compute_logs.append(LogKey("run", "step", 2), OUT, 0, b"again")
        assert compute_logs.append(KEY, OUT, 6, b"end", complete=True) == 9
        found = second.read(KEY, OUT, 0, 100)
        assert (found.data, found.complete, found.truncated) == (b"begin end", True, False)
        assert not second.read(KEY, ERR, 0, 100).complete
        assert not second.read(LogKey("run", "step", 2), OUT, 0, 100).complete

    def test_an_empty_log_can_be_closed(self, compute_logs: ComputeLogManager) -> None:
        """A step that wrote nothing: an empty piece with `complete` makes an empty, complete log."""
        assert compute_logs.append(KEY, ERR, 0, b"", complete=True) == 0
        found = compute_logs.read(KEY, ERR, 0, 100)
        assert (found.data, found.complete) == (b"", True)

    def test_a_closed_stream_takes_no_new_bytes(
        self, compute_logs: ComputeLogManager, second: ComputeLogManager
    ) -> None:
        """New bytes are refused, whoever sends them; a repeated last piece is harmless."""
        compute_logs.append(KEY, OUT, 0, b"01234", complete=True)
        for logs in (compute_logs, second):
            for offset, data in ((5, b"5"), (3, b"345"), (0, b"0123456")):
                with pytest.raises(LogClosed):
                    logs.append(KEY, OUT, offset, data)
            assert logs.append(KEY, OUT, 0, b"01234", complete=True) == 5
            assert logs.append(KEY, OUT, 2, b"23") == 5
            assert logs.append(KEY, OUT, 5, b"", complete=True) == 5
        assert whole(compute_logs) == b"01234"
        assert compute_logs.read(KEY, OUT, 0, 1).complete

    def test_writers_that_retry_at_once(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """Four writers send the same pieces at the same time: the log has each byte once, and every answer is a size
        that was."""
        pieces = [(start, b"%06d\n" % start * 20) for start in range(0, 20 * 140, 140)]

        def send(logs: ComputeLogManager) -> list[int]:
            return [logs.append(KEY, OUT, start, data) for start, data in pieces]

        answers = together([lambda: send(compute_logs), lambda: send(second)] * 2)
        assert whole(compute_logs) == b"".join(data for _, data in pieces)
        for sizes in answers:
            assert sizes == sorted(sizes)
            assert all(size >= start + len(data) for size, (start, data) in zip(sizes, pieces, strict=True))

    def test_writers_that_race_for_the_end(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """Eight writers send different bytes for one offset: one wins, the others' bytes count as there already."""

        def send(logs: ComputeLogManager, offset: int, number: int) -> int:
            return logs.append(KEY, OUT, offset, b"%d" % number * 100)

        for offset in range(0, 1000, 100):
            logs = [compute_logs, second] * 4
            sizes = together([partial(send, one, offset, number) for number, one in enumerate(logs)])
            assert sizes == [offset + 100] * 8
        found = whole(compute_logs)
        assert len(found) == 1000
        for start in range(0, 1000, 100):
            assert len(set(found[start : start + 100])) == 1, "no writer's bytes stand among another's"
