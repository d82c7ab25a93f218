"""What stands behind a run while it is recorded: its events on their way, its logs, its heartbeats."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence

from daglens.recorder import capture
from daglens.recorder.batch import DEFAULT_BATCH_LIMITS, HURRIED_S, CannotRecord, EventWriter
from daglens.recorder.capture_step import Paths
from daglens.recorder.destination import Destination
from daglens.recorder.drafts import draft
from daglens.recorder.problems import Problems
from daglens.recorder.pulse import KEEP_ALIVE_EVERY_S, Pulse
from daglens.recorder.run_artifacts import ArtifactFolder
from daglens.recorder.step import Step, close_log_files, logs_captured
from daglens.storage import event_types as et
from daglens.storage.contract import LogCapture
from daglens.storage.errors import DaglensError, RunDeleted, StorageUnavailable
from daglens.storage.log_places import LogPlace
from daglens.storage.records import PROCESS_STEP_KEY, EventDraft, Head, LogKey, NewRun, RunStatus

_ENDED_BY_OTHERS = (RunStatus.CANCELING, RunStatus.CANCELED)


class Recording:
    """One run, as this process records it. Nothing here raises for what a storage does.

    Attributes:
        run_id: Of the run.
        problems: Where what goes wrong is told.
        captures: Whether output of steps is captured.
        end_heard: Somebody has asked for the run's end, by the log.
    """

    def __init__(
        self,
        run_id: str,
        destination: Destination,
        problems: Problems,
        *,
        new_run: NewRun | None,
        captures: bool,
        on_end_asked: Callable[[], None],
    ) -> None:
        """
        Args:
            new_run: Created before the first event; None: the run exists, and others record it too.
            on_end_asked: Called, from any thread and perhaps often, when somebody has asked for the run's end.
        """
        self.run_id = run_id
        self.problems = problems
        self.captures = captures
        self.destination = destination
        self.artifacts = ArtifactFolder(lambda: destination.artifact_folder(run_id), problems)
        self.shared_log = capture.SharedLog(self._open_shared_log)
        self.end_heard = False
        self._new_run = new_run
        self._is_new = False
        self._on_end_asked = on_end_asked
        self._first_status: RunStatus | None = None
        self._looked = False
        self._canceled_unbegun = False
        self._attempts: dict[str, int] = {}
        self._open_steps: list[Step] = []
        self._lock = threading.RLock()  # a program's own handler of a signal may end the run
        self._shared_key = LogKey(run_id, PROCESS_STEP_KEY)
        self._shared_files: LogCapture | None = None
        self._told_shared = 0
        self._pulse: Pulse | None = None
        self._writer = EventWriter(self._send, problems, on_head=self._heard, limits=DEFAULT_BATCH_LIMITS)
        self._pid = os.getpid()
        _recordings.add(self)

    # ------------------------------------------------------------ events

    def record(self, event: EventDraft) -> None:
        """Queue an event."""
        self._writer.add(event)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what is queued; True when it is stored."""
        return self._writer.flush(timeout_s)

    async def aflush(self) -> None:
        """`flush`, without holding up the event loop."""
        import asyncio

        await asyncio.to_thread(self._writer.flush)

    def stop(self, why: str) -> None:
        """Record nothing any more; said once."""
        self._writer.stop(why)

    @property
    def stopped(self) -> bool:
        """True when nothing is recorded any more."""
        return self._writer.stopped is not None

    def _send(self, drafts: Sequence[EventDraft]) -> Head | None:
        if self._pid != os.getpid() and self.destination.is_ephemeral:
            raise CannotRecord("A forked process can't record into the memory of its parent: its events are dropped.")
        if self._new_run is not None:
            self._create(self._new_run)
            if not self._is_new:
                self._canceled_unbegun = self._is_canceled_unbegun()
            self._new_run = None
        return self.destination.append(self.run_id, drafts)

    def _create(self, run: NewRun) -> None:
        try:
            self._is_new = self.destination.create_run(run)
        except (RunDeleted, StorageUnavailable):
            raise
        except DaglensError as error:
            self.problems.say("create", f"The run is recorded without its tags and configuration: {error}")
            self._is_new = self.destination.create_run(NewRun(run.run_id, run.pipeline_name))

    def _is_canceled_unbegun(self) -> bool:
        """Whether the run, which somebody else has created, was canceled before anybody recorded it."""
        head = self.destination.head(self.run_id)
        return head is not None and head.state.status is RunStatus.CANCELED and head.heard_at_us is None

    # ------------------------------------------------------------ attempts and logs

    def begin_attempt(self, step: Step) -> int:
        """The number of a new attempt of the step."""
        with self._lock:
            known = self._attempts.get(step.key)
            if known is None:
                known = 0 if self._is_new else self._attempts_in_log(step.key)
            self._attempts[step.key] = known + 1
            self._open_steps.append(step)
            return known + 1

    def end_attempt(self, step: Step) -> None:
        """The step is no longer open."""
        with self._lock:
            if step in self._open_steps:
                self._open_steps.remove(step)

    def _attempts_in_log(self, step_key: str) -> int:
        if self._new_run is not None or self.stopped:
            return 0  # the storage hasn't answered yet
        try:
            return self.destination.attempts(self.run_id, step_key)
        except Exception as error:
            self.problems.say("attempts", f"Earlier attempts of {step_key!r} are not known: {error}")
            return 0

    def open_log(self, key: LogKey) -> LogCapture | None:
        """Log files for a step, None when its output isn't captured."""
        if self._new_run is not None or self.stopped:
            return None
        try:
            return self.destination.capture(key)
        except Exception as error:
            self.problems.say("capture", f"Output is not captured: {error}")
            return None

    def log_place(self) -> LogPlace | None:
        """Where logs are kept; None where that isn't known here."""
        try:
            found = self.destination.log_place
        except Exception as error:
            self.problems.say("place", f"Where logs are kept is not recorded: {error}")
            return None
        return found if isinstance(found, LogPlace) else None

    def _open_shared_log(self) -> Paths:
        # Each process has one of its own: where several record one run, they are told apart by process id.
        attempt = 1 if self._is_new else os.getpid()
        self._shared_key = LogKey(self.run_id, PROCESS_STEP_KEY, attempt)
        files = self.destination.capture(self._shared_key)
        if files is None:
            raise StorageUnavailable("Logs are not kept.")
        self._shared_files = files
        return files.stdout_path, files.stderr_path

    def tell_shared_log(self) -> None:
        """Tell which steps share the process's log, when there are more than before."""
        with self._lock:
            keys = list(self.shared_log.step_keys) if self.shared_log.opened else []
            if len(keys) <= self._told_shared:
                return
            self._told_shared = len(keys)
        self.record(
            draft(
                et.LOGS_CAPTURED,
                f"What {', '.join(keys)} write below Python while they run at once is in one log.",
                logs_captured(self._shared_key.attempt, keys, self.log_place()),
                step_key=PROCESS_STEP_KEY,
            )
        )

    # ------------------------------------------------------------ life

    def start_pulse(self, heartbeat_timeout_s: int | None, *, answers: bool = True) -> None:
        """Begin heartbeats, or with None only signs of life, and to look whether somebody asks for the end.

        Args:
            answers: Whether the storage does: it isn't waited for otherwise.
        """
        timeout_s = heartbeat_timeout_s

        def beat() -> None:
            if timeout_s is None:
                self.destination.append(self.run_id, [])
            else:
                self.destination.heartbeat(self.run_id, timeout_s)

        self._pulse = Pulse(
            beat=beat,
            beat_every_s=KEEP_ALIVE_EVERY_S if timeout_s is None else timeout_s / 3,
            look=lambda: self.destination.head(self.run_id),
            on_head=self._heard,
            problems=self.problems,
        )
        self._pulse.start(answers=answers)

    def _heard(self, head: Head) -> None:
        if head.deleted:
            self._writer.stop(f"Run {self.run_id} was deleted. Recording stops; the pipeline goes on.")
            return
        status = head.state.status
        if not self._looked:
            self._looked, self._first_status = True, status
        # A run that was recorded and canceled before this recorder came is recorded anew; one that was canceled while
        # it waited for a recorder never begins.
        was_canceled = self._first_status is RunStatus.CANCELED and not self._canceled_unbegun
        if status in _ENDED_BY_OTHERS and not was_canceled:
            self.end_heard = True
            self._on_end_asked()

    def stop_pulse(self) -> None:
        """No heartbeats from now on."""
        if self._pulse is not None:
            self._pulse.stop()

    def close_logs(self) -> None:
        """Complete the logs of steps that are still open, and the shared one."""
        with self._lock:
            left = list(self._open_steps)
        for step in left:
            step.close_log()
        result = self.shared_log.close()
        if result.owner and self._shared_files is not None:
            close_log_files(self._shared_files, result.truncated, self.problems)

    def hurry(self) -> None:
        """Wait no longer for a storage or a server that doesn't answer; `close` says what that leaves. From any
        thread, and from a signal's handler."""
        self._writer.hurry()
        self.destination.hurry()

    def close(self, timeout_s: float) -> None:
        """Send the rest, waiting that long for a storage that fails, and give everything back. Ctrl-C ends the waits
        at once, and goes on to the caller when all is done; so does what a handler of the program's own raises."""
        try:
            self._close(timeout_s)
        except BaseException:
            self.hurry()
            self._close(HURRIED_S)
            raise

    def _close(self, timeout_s: float) -> None:
        lost = self._writer.close(timeout_s)
        if lost:
            self.problems.say("lost", f"{lost} events of run {self.run_id} are not stored: the storage didn't answer.")
        try:
            self.destination.close()
        except Exception as error:
            self.problems.say("close", f"Closing the instance failed: {error}")

    def start_in_child(self) -> None:
        """After a fork, in the child: it may record steps of its own, but the run is the parent's."""
        self._lock = threading.RLock()
        self.problems.forget_lock()
        self._pulse = None


_recordings: weakref.WeakSet[Recording] = weakref.WeakSet()


def _start_in_child() -> None:
    for recording in list(_recordings):
        recording.start_in_child()


os.register_at_fork(after_in_child=_start_in_child)
