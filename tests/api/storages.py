"""Small storages for tests of the API: what is asked of one is recorded, and it can be told to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

from daglens.storage.contract import ArtifactStorage, ComputeLogManager, LogCapture, NoConfig
from daglens.storage.errors import LogUnavailable
from daglens.storage.records import (
    Artifact,
    ArtifactSlice,
    ComputeIO,
    Health,
    LogBytes,
    LogFile,
    LogKey,
    LogUnavailableReason,
)


class Watched:
    """A storage in front of another: notes the methods called, and raises `failure` from all of them when it is set."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.called: list[str] = []
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value) or name == "close":
            return value
        return self._noting(name, value)

    def _noting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.called.append(name)
            self.asked.append((name, args, kwargs))
            if self.failure is not None:
                if name == "health":
                    return Health(False, "It does not answer.")
                raise self.failure
            return method(*args, **kwargs)

        return call


class LogsInMemory(ComputeLogManager):
    """Compute logs as bytes in a dictionary; `unavailable` says why a log can't be read."""

    Config: ClassVar[type[Any]] = NoConfig

    def __init__(self) -> None:
        self.data: dict[tuple[LogKey, ComputeIO], bytes] = {}
        self.completed: set[tuple[LogKey, ComputeIO]] = set()
        self.cut: set[tuple[LogKey, ComputeIO]] = set()
        self.unavailable: dict[LogKey, LogUnavailableReason] = {}

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Self:
        return cls()

    def capture(self, key: LogKey) -> LogCapture | None:
        for io in ComputeIO:
            self.data.setdefault((key, io), b"")
        return None

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        self.data[key, io] = self.data.get((key, io), b"")[:offset] + data
        if complete:
            self.completed.add((key, io))
        return len(self.data[key, io])

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        if key in self.unavailable:
            raise LogUnavailable(self.unavailable[key], "By the test.")
        if (key, io) not in self.data:
            raise LogUnavailable("NOT_CAPTURED")
        data = self.data[key, io]
        return LogBytes(data[start : start + max_bytes], len(data), (key, io) in self.completed, (key, io) in self.cut)

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        files = [
            LogFile(key, io, len(data), (key, io) in self.completed, (key, io) in self.cut, f"memory:{key.step_key}")
            for (key, io), data in self.data.items()
        ]
        files.sort(key=lambda file: (file.key.step_key, file.key.attempt, file.io is ComputeIO.STDERR))
        return {run_id: [file for file in files if file.key.run_id == run_id] for run_id in run_ids}

    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        self.completed.add((key, io))
        if truncated:
            self.cut.add((key, io))

    def delete(self, run_id: str) -> int:
        raise AssertionError("not for the API")


class ArtifactsInMemory(ArtifactStorage):
    """Artifacts that are only names."""

    Config: ClassVar[type[Any]] = NoConfig

    def __init__(self) -> None:
        self.files: dict[str, list[Artifact]] = {}

    @classmethod
    def from_config(cls, config: Any, home: Path) -> Self:
        return cls()

    def put(self, run_id: str, path: str, size_bytes: int = 0) -> None:
        files = self.files.setdefault(run_id, [])
        files.append(Artifact(path, size_bytes, 1_700_000_000_000_000))
        files.sort(key=lambda file: file.path)

    def folder(self, run_id: str) -> Path:
        raise AssertionError("not for the API")

    def list(self, run_id: str, after: str | None = None, limit: int = 100) -> ArtifactSlice:
        rest = [file for file in self.files.get(run_id, []) if after is None or file.path > after]
        return ArtifactSlice(rest[:limit], has_more=len(rest) > limit)

    def open(self, run_id: str, path: str) -> BinaryIO:
        raise AssertionError("not for the API")

    def delete(self, run_id: str) -> int:
        raise AssertionError("not for the API")
