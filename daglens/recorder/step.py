"""One attempt of a step: from its start to its end, with its output captured."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, Self, TypeVar, cast

from daglens.recorder import capture, streams
from daglens.recorder.endings import Ending, ending_of
from daglens.recorder.failure import error_data, headline
from daglens.recorder.problems import Problems
from daglens.recorder.retries import NO_RETRIES, RetryPolicy
from daglens.recorder.run_artifacts import ArtifactFolder
from daglens.recorder.step_events import StepEvents, StepSkipped, step_in_context
from daglens.storage import event_types as et
from daglens.storage.contract import LogCapture
from daglens.storage.log_places import LogPlace, captured_data
from daglens.storage.records import EventDraft, LogKey, LogLevel

P = ParamSpec("P")
R = TypeVar("R")

_UNOPENED: Final = 0
"""Attempt of a step that has not begun."""


class StepRun(Protocol):
    """What a step needs of its run."""

    run_id: str
    problems: Problems
    artifacts: ArtifactFolder
    shared_log: capture.SharedLog
    captures: bool

    def record(self, event: EventDraft) -> None: ...

    def flush(self, timeout_s: float = 5.0) -> bool: ...

    def begin_attempt(self, step: Step) -> int: ...

    def end_attempt(self, step: Step) -> None: ...

    def open_log(self, key: LogKey) -> LogCapture | None: ...

    def log_place(self) -> LogPlace | None: ...

    def tell_shared_log(self) -> None: ...

    async def aflush(self) -> None: ...


class Step(StepEvents):
    """A step of a run: use it in a `with` (or `async with`), or as a decorator.

    It begins with the block and ends with it: an exception makes it fail (and goes on), `skip` makes it skipped. Its
    events are stored when the block is left.
    """

    def __init__(
        self, run: StepRun, key: str, *, policy: RetryPolicy = NO_RETRIES, tried: int = 1, isolated: bool = False
    ) -> None:
        """
        Args:
            tried: Which try of the policy this is, from 1.
            isolated: Its output is that of a child process, for which `child` has the files.
        """
        super().__init__(run.run_id, key, _UNOPENED, run.record, run.artifacts)
        self.child: streams.ChildCapture | None = None
        self.child_truncated = False
        self.retry_after_s: float | None = None
        self._run = run
        self._policy = policy
        self._tried = tried
        self._isolated = isolated
        self._capture: capture.StepCapture | None = None
        self._log_files: LogCapture | None = None
        self._began_s = 0.0
        self._ended = False
        self._pid = os.getpid()
        self._outer: StepEvents | None = None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function, or a coroutine function: each call is an attempt of the step."""
        run, key, policy = self._run, self.key, self._policy
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                async with Step(run, key, policy=policy):
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            result = cast(R, None)  # if it is skipped
            with Step(run, key, policy=policy):
                result = function(*args, **kwargs)
            return result

        return called

    # ------------------------------------------------------------ with

    def __enter__(self) -> Self:
        self._begin()
        return self

    # `bool | None`: type checkers then take `return` within a block for the function's end. After `skip` it isn't.
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return self._end(error)
        finally:
            self._run.flush()

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return self._end(error)
        finally:
            await self._run.aflush()

    # ------------------------------------------------------------ for its child process

    def record_event(self, event: EventDraft) -> None:
        """Record an event that the step's child process has made."""
        self._record(event)

    def artifact_folder(self) -> Path:
        """The run's folder for artifacts."""
        return self._artifacts.folder()

    # ------------------------------------------------------------ begin and end

    def _begin(self) -> None:
        if self.attempt != _UNOPENED:
            raise RuntimeError(f"The step {self.key!r} has begun already; `run.step(…)` makes a new attempt of it.")
        self._pid = os.getpid()
        self.attempt = self._run.begin_attempt(self)
        self._began_s = time.monotonic()
        self._outer = step_in_context.get()
        started = et.STEP_START if self.attempt == 1 else et.STEP_RESTARTED
        message = f"Step {self.key} began." if self.attempt == 1 else f"Step {self.key} began attempt {self.attempt}."
        self._tell(started, message, {"attempt": self.attempt})
        if self._run.captures:
            self._open_log()
        step_in_context.set(self)

    def _open_log(self) -> None:
        key = LogKey(self.run_id, self.key, self.attempt)
        self._log_files = files = self._run.open_log(key)
        if files is None:
            return
        opened: capture.StepCapture | streams.ChildCapture
        if self._isolated:
            self.child = opened = streams.open_child(files.stdout_path, files.stderr_path)
        else:
            self._capture = opened = capture.open_step(
                self.key, files.stdout_path, files.stderr_path, shared=self._run.shared_log
            )
        if opened.problem is not None:
            self._run.problems.say("capture", opened.problem)
        if opened.captured:
            data = logs_captured(self.attempt, [self.key], self._run.log_place())
            self._tell(et.LOGS_CAPTURED, f"Output of {self.key} is captured.", data)
        self._run.tell_shared_log()

    def _end(self, error: BaseException | None) -> bool:
        """True when the exception ends here: a skip, or a failure that is tried again."""
        if self._ended:
            return False
        self._ended = True
        try:
            self.close_log()
        finally:  # Ctrl-C, while a slow console is shown the rest, doesn't take the step's end away
            if step_in_context.get() is self:
                step_in_context.set(self._outer)
            is_over = self._pid == os.getpid() and self._tell_over(error)
        return is_over  # False in a forked child, too, that unwinds its parent's step

    def _tell_over(self, error: BaseException | None) -> bool:
        try:
            return self._tell_end(error)
        finally:
            self._run.end_attempt(self)

    def close_log(self) -> None:
        """End the capture; the log is complete. May be called twice; in a forked child only what it wrote goes out."""
        if self._capture is not None:
            result = self._capture.close()
        elif self.child is not None:
            result = self.child.close(self.child_truncated)
        else:
            return
        if result.owner and self._log_files is not None:
            close_log_files(self._log_files, result.truncated, self._run.problems)

    def _tell_end(self, error: BaseException | None) -> bool:
        attempt = {"attempt": self.attempt}
        seconds = round(time.monotonic() - self._began_s, 6)
        if isinstance(error, StepSkipped):
            self._tell(et.STEP_SKIPPED, f"Step {self.key} skipped: {error}".removesuffix(": ") + ".", attempt)
            return True
        ending = ending_of(error)
        if ending is Ending.SUCCESS or error is None:
            self._tell(
                et.STEP_SUCCESS, f"Step {self.key} ended after {seconds:.3g} s.", attempt | {"durationSeconds": seconds}
            )
            return False
        told = error_data(error)
        again = self._policy.wait_s(error, self._tried) if ending is Ending.FAILURE else None
        if again is not None:
            self.retry_after_s = again
            self._tell(
                et.STEP_UP_FOR_RETRY,
                f"Step {self.key} failed and is tried again: {headline(told)}",
                attempt | {"error": told, "secondsToWait": again},
                LogLevel.WARNING,
            )
            return True
        how = "was interrupted" if ending is Ending.CANCELED else "failed"
        self._tell(
            et.STEP_FAILURE,
            f"Step {self.key} {how}: {headline(told)}",
            attempt | {"error": told, "metadataEntries": []},
            LogLevel.ERROR,
        )
        return False


def logs_captured(attempt: int, step_keys: Sequence[str], place: LogPlace | None) -> dict[str, Any]:
    """Data of LOGS_CAPTURED."""
    return {"attempt": attempt, "stepKeys": list(step_keys), **captured_data(place)}


def close_log_files(files: LogCapture, truncated: bool, problems: Problems) -> None:
    """Tell the storage that a log is complete."""
    try:
        files.close(truncated=truncated)
    except Exception as error:
        problems.say("capture", f"A log could not be completed: {error}")
