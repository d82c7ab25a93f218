"""One captured step, the log that the steps of one process share, and how a capture ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from daglens.recorder.capture_file import DEFAULT_RESERVE_BYTES, CapturedFile

P = ParamSpec("P")
R = TypeVar("R")

Paths = tuple[str | os.PathLike[str], str | os.PathLike[str]]
Files = tuple[CapturedFile, CapturedFile]


class _Capture(Protocol):
    """What a step asks of the process's capture."""

    def close_step(self, step: StepCapture) -> CaptureResult: ...

    def close_shared(self, shared: SharedLog) -> CaptureResult: ...


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """How a capture ended.

    Attributes:
        owner: False in a forked child that unwound its parent's step: mark nothing complete, report nothing.
        captured: There was a capture; False: `problem` says why not.
        truncated: More was written than the files keep (either of them).
        shared: While this step was open, others of the process were too: output below Python is in the SharedLog.
        problem: A sentence for the user about what was not captured; None when all was well.
    """

    owner: bool
    captured: bool
    truncated: bool
    shared: bool
    problem: str | None


class SharedLog:
    """The log for what is written below Python while several steps of one process are open; opened when needed."""

    def __init__(self, open_paths: Callable[[], Paths], *, reserve_bytes: int = DEFAULT_RESERVE_BYTES) -> None:
        """`open_paths` is called at most once, when the log is first needed, and gives its stdout and stderr path."""
        self.step_keys: list[str] = []
        self.problem: str | None = None
        self.files: Files | None = None
        self.closed = False
        self.pid: int | None = None
        self._open_paths = open_paths
        self._reserve_bytes = reserve_bytes
        self._capture: _Capture | None = None

    @property
    def opened(self) -> bool:
        """True once several steps were open: there is a log, with the output of `step_keys`."""
        return self.files is not None

    def close(self) -> CaptureResult:
        """Close the files, at the end of the run. May be called twice."""
        if self._capture is None:
            self.closed = True
            return CaptureResult(True, False, False, False, self.problem)
        return self._capture.close_shared(self)

    def open(self, capture: _Capture, opener: Callable[[Paths, int], tuple[Files | None, str | None]]) -> Files | None:
        """The files, opened by the first call; None: they can't be had (then `problem` says why), or are closed."""
        if self.files is None and self.problem is None and not self.closed:
            try:
                self.files, self.problem = opener(self._open_paths(), self._reserve_bytes)
            except Exception as error:
                self.problem = f"The log that the steps of this process share can't be opened: {error}"
            self.pid = os.getpid()
            self._capture = capture
        return None if self.closed else self.files


class StepCapture:
    """A step whose output is captured, from `open_step` to `close`."""

    def __init__(
        self,
        capture: _Capture,
        key: str,
        files: Files | None,
        problem: str | None,
        shared: SharedLog | None,
        parent: StepCapture | None,
    ) -> None:
        self.key = key
        self.problem = problem
        self.files = files
        self.shared = shared
        self.is_shared = False
        self.parent = parent
        self.closed = False
        self.pid = os.getpid()
        self._capture = capture

    @property
    def captured(self) -> bool:
        """False when nothing is captured; `problem` says why."""
        return self.files is not None

    def close(self) -> CaptureResult:
        """End the capture: flush, give the descriptors back, show the rest on the console. May be called twice."""
        return self._capture.close_step(self)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make it the step of this thread or task, where the context doesn't say so already."""
        token = step_in_context.set(self)
        try:
            yield
        finally:
            step_in_context.reset(token)

    def bind(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, run as part of this step in whatever thread calls it."""

        def bound(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.active():
                return function(*args, **kwargs)

        return bound

    def nearest_open(self) -> StepCapture | None:
        """This step, or the nearest of those around it that is still open."""
        step: StepCapture | None = self
        while step is not None and step.closed:
            step = step.parent
        return step


step_in_context: ContextVar[StepCapture | None] = ContextVar("daglens_captured_step", default=None)


def current_step() -> StepCapture | None:
    """The open step of this thread or task; None when its context has none."""
    step = step_in_context.get()
    return None if step is None else step.nearest_open()
