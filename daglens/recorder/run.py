"""A run that this process records."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import functools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Self, TypeVar, cast

from daglens.recorder.drafts import draft, recordable
from daglens.recorder.endings import Ending, ending_of
from daglens.recorder.failure import error_data, headline
from daglens.recorder.interrupt import Interruptible, RunTerminated
from daglens.recorder.plain import fields, text
from daglens.recorder.recording import Recording
from daglens.recorder.retries import RetryPolicy
from daglens.recorder.step import Step
from daglens.recorder.step_events import current_step
from daglens.storage import event_types as et
from daglens.storage.random_ids import random_id
from daglens.storage.records import LogLevel

if TYPE_CHECKING:
    import logging

P = ParamSpec("P")
R = TypeVar("R")

Status = Literal["success", "failure", "canceled"]

END_WAIT_S = 30.0
"""How long the end of a run waits for a storage that doesn't answer."""

_AWAKE_S: Final = 0.2


class Run:
    """A run while it is recorded: made by `daglens.start_run` or `daglens.attach_run`.

    Leaving its `with` block ends it; without one, `finish` does. Its methods may be called from any thread or task,
    and, but for ephemeral instances, from forked children.

    Attributes:
        run_id: Its id.
        pipeline_name: Of the pipeline; None for a run that was attached to.
    """

    def __init__(
        self, recording: Recording, pipeline_name: str | None, interrupter: Interruptible, *, ends: bool
    ) -> None:
        """`ends`: the run's end is reported here; False: by somebody else."""
        self.run_id = recording.run_id
        self.pipeline_name = pipeline_name
        self._recording = recording
        self._interrupter = interrupter
        self._ends = ends
        self._pid = os.getpid()
        self._told = False
        self._finished = False
        self._end_id = random_id()
        self._outer = run_in_context.get()
        run_in_context.set(self)
        atexit.register(self._at_exit)

    # ------------------------------------------------------------ steps

    def step(self, key: str) -> Step:
        """A step, for a `with` (or `async with`) block, or as a decorator; again with the same key: a new attempt."""
        return Step(self._recording, recordable(key, "step key"))

    def child_step(self, key: str) -> Step:
        """A step whose output is that of a child process; its `child` has the files for it."""
        return Step(self._recording, recordable(key, "step key"), isolated=True)

    def attempts(self, key: str, *, retries: int = 2, wait_s: float = 0.0) -> Attempts:
        """A step that is tried again when it raises an Exception: `for attempt in run.attempts("load"):` with
        `with attempt as step:` below it (or `async for` and `async with`).

        Args:
            retries: Tries after the first one.
            wait_s: Pause between tries, in seconds.
        """
        return Attempts(self, recordable(key, "step key"), RetryPolicy(True, retries, wait_s))

    def call_step(
        self,
        key: str,
        function: Callable[..., R],
        /,
        *args: Any,
        isolate: bool = False,
        retries: int = 0,
        retry_wait_s: float = 0.0,
        **kwargs: Any,
    ) -> R:
        """Call `function(*args, **kwargs)` as a step and give back what it returns (None when it skips the step).

        Within it, `daglens.current_step()` is the step.

        Args:
            isolate: In a child process, with exact capture of its output. Function, arguments and result are pickled.
            retries: Tries after the first one, when it raises an Exception.
            retry_wait_s: Pause between tries, in seconds.

        Raises:
            TypeError: With `isolate`, what can't be carried to another process (a lambda).
            StepProcessDied: With `isolate`, its process ended without a result.
            BaseException: What the function raised at last.
        """
        packed = b""
        if isolate:
            from daglens.recorder.isolate import call_isolated, packed_call

            packed = packed_call(key, function, args, kwargs)
        policy = RetryPolicy(True, retries, retry_wait_s)
        for attempt in Attempts(self, recordable(key, "step key"), policy, isolated=isolate):
            with attempt as step:
                if isolate:
                    return cast(R, call_isolated(step, packed, self._interrupter.asked))
                return function(*args, **kwargs)
        return cast(R, None)

    async def acall_step(
        self,
        key: str,
        function: Callable[..., Awaitable[R]],
        /,
        *args: Any,
        retries: int = 0,
        retry_wait_s: float = 0.0,
        **kwargs: Any,
    ) -> R:
        """`call_step` for a coroutine function."""
        policy = RetryPolicy(True, retries, retry_wait_s)
        async for attempt in Attempts(self, recordable(key, "step key"), policy):
            async with attempt:
                return await function(*args, **kwargs)
        return cast(R, None)

    def skip_step(self, key: str, reason: str = "") -> None:
        """Say that a step is left out, without beginning it."""
        step_key = recordable(key, "step key")
        message = f"Step {step_key} skipped: {text(reason)}." if reason else f"Step {step_key} skipped."
        self._recording.record(draft(et.STEP_SKIPPED, message, step_key=step_key))

    def bind(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, run as part of the step that is open here and now, in whatever thread calls it."""
        context = contextvars.copy_context()

        @functools.wraps(function)
        def bound(*args: P.args, **kwargs: P.kwargs) -> R:
            return context.copy().run(function, *args, **kwargs)

        return bound

    # ------------------------------------------------------------ what belongs to the run itself

    def artifact_path(self, name: str | os.PathLike[str]) -> Path:
        """Where to write a file artifact: a path below the run's folder; its folders are made.

        Raises:
            InvalidName: The name is absolute, has `..` or NUL, is too long, or leads out by a symbolic link.
        """
        return self._recording.artifacts.path(name)

    @cached_property
    def log(self) -> logging.Logger:
        """A logger whose messages are events of the run (and are not printed)."""
        from daglens.recorder.logs import EventLogger

        return EventLogger(self.pipeline_name or "run", self._log_message)

    def log_handler(self, level: int = 0) -> logging.Handler:
        """A handler for the program's own loggers: their records become events of the step they come from.

        Args:
            level: Records below it are left out; 0 (logging.NOTSET): none.
        """
        from daglens.recorder.logs import EventHandler

        return EventHandler(self._log_message, level)

    def _log_message(self, logger: str, level: LogLevel, message: str) -> None:
        step = current_step()
        if step is not None and step.run_id == self.run_id:
            step.log_message(logger, level, message)
        else:
            self._recording.record(draft(et.LOG_MESSAGE, message, {"logger": logger}, level=level))

    def event(
        self,
        event_type: str,
        message: str = "",
        data: Mapping[str, Any] | None = None,
        level: LogLevel = LogLevel.INFO,
    ) -> None:
        """Record an event of the run, of any type; see `StepEvents.event`."""
        name = recordable(event_type, "event type")
        self._recording.record(draft(name, text(message), fields(data), level=level))

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run; a key that is there gets the new value."""
        self._recording.flush()  # the run may not be there yet
        try:
            self._recording.destination.add_tags(self.run_id, [(text(key), text(tags[key])) for key in tags])
        except Exception as error:
            self._recording.problems.say("tags", f"Tags were not added: {error}")

    @property
    def destination_environment(self) -> Mapping[str, str]:
        """Variables with which a child process records to the same place (see Destination.environment)."""
        return self._recording.destination.environment

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Store at once what was recorded so far; True when it is (an event waits at most 20 ms anyway)."""
        return self._recording.flush(timeout_s)

    def pause(self, seconds: float) -> None:
        """Sleep, and wake up with RunTerminated when the run is asked to end; in any thread."""
        if seconds > 0 and self._interrupter.asked.wait(seconds):
            raise RunTerminated("The run was asked to end.")

    # ------------------------------------------------------------ the end

    def finish(self, status: Status = "success", error: BaseException | None = None) -> None:
        """End the run, once; later calls do nothing. With an `error` and no other status it is a failure.

        In a forked child it only stores what the child recorded.
        """
        ending = Ending[status.upper()]
        told = Ending.FAILURE if error is not None and ending is Ending.SUCCESS else ending
        self._finish(lambda: told, error)

    def hurry(self) -> None:
        """Let the run's end wait no longer for a storage or a server that doesn't answer; what is left is said. From
        any thread, and from a signal's handler."""
        self._recording.hurry()

    def _finish(self, ending: Callable[[], Ending], error: BaseException | None) -> None:
        try:
            self._go_on_ending(ending, error)
        except KeyboardInterrupt:  # Ctrl-C or SIGTERM, which may come at any line, don't take the run's end away
            if self._is_ours():
                self._go_on_ending(ending, error)
            raise

    def _go_on_ending(self, ending: Callable[[], Ending], error: BaseException | None) -> None:
        """End the run, from where an interruption broke it off."""
        if self._is_open():
            self._tell_all(ending, error)
            self._recording.close(END_WAIT_S)
            self._closed()

    def _is_open(self) -> bool:
        """False when there is nothing to end: it has ended, or this is a forked child."""
        if not self._is_ours():
            self._recording.flush()
            return False
        return not self._finished

    def _is_ours(self) -> bool:
        """False in a forked child."""
        return self._pid == os.getpid()

    def _closed(self) -> None:
        self._finished = True
        atexit.unregister(self._at_exit)

    def _tell_all(self, ending: Callable[[], Ending], error: BaseException | None) -> None:
        """Everything of the end that comes before the wait for the storage; may be called again."""
        if self._told:
            return
        try:
            self._let_go()
            self._recording.close_logs()
        except Exception as problem:
            self._recording.problems.say("end", f"The run's end: {type(problem).__name__}: {problem}")
        self._tell_end(ending(), error)
        self._told = True

    def _let_go(self) -> None:
        self._recording.stop_pulse()
        self._interrupter.disarm()
        if run_in_context.get() is self:
            run_in_context.set(self._outer)

    def _tell_end(self, ending: Ending, error: BaseException | None) -> None:
        if not self._ends:
            return
        name = self.pipeline_name or "The run"
        end = functools.partial(draft, event_id=self._end_id)  # told twice it is stored once
        if ending is Ending.SUCCESS:
            event = end(et.RUN_SUCCESS, f"{name} ended well.")
        elif ending is Ending.CANCELED:
            why = f": {headline(error_data(error))}" if error is not None else ""
            event = end(et.RUN_CANCELED, f"{name} was canceled{why}.", level=LogLevel.WARNING)
        else:
            told = error_data(error) if error is not None else None
            why = f": {headline(told)}" if told else "."
            event = end(et.RUN_FAILURE, f"{name} failed{why}", {"presumed": False, "error": told}, level=LogLevel.ERROR)
        self._recording.record(event)

    def _end(self, error: BaseException | None) -> None:
        # Looked at when nobody can interrupt any more: who did may still be about to say so.
        self._finish(lambda: self._ending_of(error), error)

    def _ending_of(self, error: BaseException | None) -> Ending:
        ending = ending_of(error)
        # The interruption may have come out as another exception.
        return Ending.CANCELED if ending is Ending.FAILURE and self._interrupter.asked.is_set() else ending

    def _at_exit(self) -> None:
        if not self._is_ours() or self._finished:
            return
        # What ended the program without a caller is kept here by the interpreter.
        error = getattr(sys, "last_value", None)
        # Ctrl-C ends only the wait: the program ends anyway.
        with contextlib.suppress(KeyboardInterrupt):
            if isinstance(error, BaseException):
                self._end(error)
            elif self._ends:
                not_finished = RunNotFinished("The program ended without finish() for its run.")
                self._finish(lambda: Ending.FAILURE, not_finished)
            else:
                self._finish(lambda: Ending.SUCCESS, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._end(error)
        except KeyboardInterrupt:
            if self._is_ours():
                self._end(error)  # where it came before anything else
            # Ctrl-C ended the wait of this end. What ends the program already, a first Ctrl-C or an exit code, goes on.
            if error is None or isinstance(error, Exception):
                raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        if self._is_open():
            try:
                self._tell_all(lambda: self._ending_of(error), error)
            except KeyboardInterrupt:
                self._tell_all(lambda: self._ending_of(error), error)
                raise
            finally:
                try:
                    closing = asyncio.create_task(asyncio.to_thread(self._recording.close, END_WAIT_S))
                    # Ctrl-C in the moment in which the loop goes to sleep is heard when it wakes next: let it wake.
                    while not closing.done():
                        await asyncio.wait({closing}, timeout=_AWAKE_S)
                    closing.result()
                except asyncio.CancelledError:
                    self._recording.hurry()  # the thread goes on, and nobody ends it
                    raise
                finally:
                    self._closed()


class RunNotFinished(Exception):
    """The program ended, and nobody had said how the run did."""


class Attempts:
    """The tries of a step, one after the other, until one ends well, is skipped, or none is left."""

    def __init__(self, run: Run, key: str, policy: RetryPolicy, *, isolated: bool = False) -> None:
        self._run = run
        self._key = key
        self._policy = policy
        self._isolated = isolated

    def _try(self, number: int) -> Step:
        return Step(self._run._recording, self._key, policy=self._policy, tried=number, isolated=self._isolated)

    def __iter__(self) -> Iterator[Step]:
        number = 1
        while True:
            step = self._try(number)
            yield step
            if step.retry_after_s is None:
                return
            self._run.pause(step.retry_after_s)
            number += 1

    async def __aiter__(self) -> AsyncIterator[Step]:
        import asyncio

        number = 1
        while True:
            step = self._try(number)
            yield step
            if step.retry_after_s is None:
                return
            await asyncio.sleep(step.retry_after_s)
            number += 1


run_in_context: ContextVar[Run | None] = ContextVar("daglens_run", default=None)


def current_run() -> Run | None:
    """The run of this thread or task, None when there is none: also in a child process of `call_step`."""
    return run_in_context.get()
