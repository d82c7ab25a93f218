"""What the topics of the compute log suite have in common."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from daglens.storage.contract import ComputeLogManager, LogCapture
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import ComputeIO, LogFile, LogKey, LogUnavailableReason

OUT = ComputeIO.STDOUT
ERR = ComputeIO.STDERR
KEY = LogKey("run", "step")

EVERY_BYTE = bytes(range(256)) + "é€😀\r\n\0".encode() + b"\xe2\x82"
"""No text: what a log may hold all the same. It ends in half a character."""


class ComputeLogTopic:
    """Base of the topics. A subclass gives the fixture `compute_logs`."""

    @pytest.fixture
    def compute_logs(self) -> ComputeLogManager:
        """A manager without logs, for one test."""
        raise NotImplementedError("Override the fixture `compute_logs`: it gives a new, empty compute log manager.")

    @pytest.fixture
    def second(self, compute_logs: ComputeLogManager) -> ComputeLogManager:
        """Another instance on the same data, as another process has; override it where there can be one."""
        return compute_logs


def begin(logs: ComputeLogManager, key: LogKey = KEY) -> LogCapture:
    """Begin to capture; the suite is for managers that do."""
    capture = logs.capture(key)
    assert capture is not None, "this manager keeps logs, so `capture` gives files"
    return capture


def write(capture: LogCapture, io: ComputeIO, data: bytes) -> None:
    """Write as a step's descriptor does."""
    with open(capture.stdout_path if io is OUT else capture.stderr_path, "ab") as file:
        file.write(data)


def whole(logs: ComputeLogManager, key: LogKey = KEY, io: ComputeIO = OUT) -> bytes:
    """All bytes of a stream, read at once."""
    found = logs.read(key, io, 0, 64 * 1024 * 1024)
    assert found.size_bytes == len(found.data), "a read from 0 with room for more reaches the end"
    return found.data


def reason_of(logs: ComputeLogManager, key: LogKey, io: ComputeIO = OUT) -> str:
    """Why the log can't be read."""
    try:
        logs.read(key, io, 0, 100)
    except LogUnavailable as error:
        return error.reason
    raise AssertionError(f"{key} {io} can be read")


def is_missing(logs: ComputeLogManager, key: LogKey, io: ComputeIO = OUT) -> bool:
    """True when the manager says that there never was such a log."""
    return reason_of(logs, key, io) == LogUnavailableReason.NOT_CAPTURED


def named(files: Iterable[LogFile]) -> list[tuple[str, int, ComputeIO]]:
    """What a listing names, in its order."""
    return [(file.key.step_key, file.key.attempt, file.io) for file in files]
