"""Closing a stream without new bytes."""

from __future__ import annotations

import pytest

from daglens.storage.contract import ComputeLogManager
from daglens.storage.errors import LogClosed
from daglens.storage.records import LogKey
from daglens.testing.compute_logs.topic import ERR, KEY, OUT, ComputeLogTopic


class LogClosing(ComputeLogTopic):
    """`mark_complete`."""

    def test_one_stream_of_one_attempt(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """Only the stream that is named is closed; marking again is harmless."""
        keys = [KEY, LogKey("run", "step", 2), LogKey("run", "other"), LogKey("else", "step")]
        for key in keys:
            for io in (OUT, ERR):
                compute_logs.append(key, io, 0, b"text")
        compute_logs.mark_complete(KEY, ERR)
        compute_logs.mark_complete(KEY, ERR)
        for key in keys:
            for io in (OUT, ERR):
                found = second.read(key, io, 0, 100)
                assert (found.data, found.complete, found.truncated) == (b"text", (key, io) == (KEY, ERR), False)
        closed = [(file.key, file.io) for run in ("run", "else") for file in second.list([run])[run] if file.complete]
        assert closed == [(KEY, ERR)]

    def test_truncated_is_remembered(self, compute_logs: ComputeLogManager, second: ComputeLogManager) -> None:
        """A stream that was cut says so, in a read and in a listing; a later mark without it takes nothing back."""
        compute_logs.append(KEY, OUT, 0, b"text")
        compute_logs.mark_complete(KEY, OUT)
        compute_logs.mark_complete(KEY, OUT, truncated=True)
        compute_logs.mark_complete(KEY, OUT)
        found = second.read(KEY, OUT, 0, 100)
        assert (found.complete, found.truncated) == (True, True)
        assert [file.truncated for file in second.list(["run"])["run"]] == [True]

    def test_nothing_is_added_afterwards(self, compute_logs: ComputeLogManager) -> None:
        """A stream closed by a mark takes no new bytes."""
        compute_logs.append(KEY, OUT, 0, b"text")
        compute_logs.mark_complete(KEY, OUT)
        with pytest.raises(LogClosed):
            compute_logs.append(KEY, OUT, 4, b"more")
        assert compute_logs.append(KEY, OUT, 0, b"text") == 4
