"""`daglens record`: a command as a step, its exit code and signals passed through."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

from daglens.recorder.destination import DESTINATION_VARIABLES
from daglens.recorder.failure import carry, signal_name
from daglens.recorder.interrupt import EndAsked, RunTerminated
from daglens.recorder.problems import note
from daglens.recorder.processes import end_group, end_tree
from daglens.recorder.run import Run
from daglens.recorder.start import RUN_ID_VARIABLE
from daglens.recorder.step import Step

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
TERMINATED: Final = 128 + signal.SIGTERM
GRACE_S: Final = 10.0

_FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_FROM_TERMINAL: Final = frozenset({signal.SIGINT, signal.SIGQUIT})
_ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})


class CommandFailed(Exception):
    """The command ended with another exit code than 0, or a signal ended it, or it could not be started.

    Attributes:
        code: The exit code that a shell would give for it.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class CommandCanceled(RunTerminated):
    """The command ended because somebody asked for it."""


class ChildCommand:
    """A command that runs below this process. It is what a request to end the run reaches (see Interrupter).

    Attributes:
        asked: Set once somebody has asked for the run's end.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.asked = EndAsked()
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None
        self._own_group = not _shares_terminal()
        self._on_late_signal: Callable[[], None] = lambda: None
        self._received: list[int] = []
        self._waiting_signals: list[int] = []
        self._armed = False

    # ------------------------------------------------------------ for the run

    def arm(self) -> None:
        """From now on `interrupt` works."""
        self._armed = True

    def disarm(self) -> None:
        """From now on `interrupt` does nothing."""
        self._armed = False

    def interrupt(self) -> None:
        """End the command and what it has started: SIGTERM, after 10 s SIGKILL."""
        if self._armed and not self.asked.is_set():
            self.asked.set()
            threading.Thread(target=self._end, name="daglens-end", daemon=True).start()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return  # `run` looks after it started
        if self._own_group:
            end_group(process, GRACE_S)
        else:
            end_tree(process, GRACE_S)

    # ------------------------------------------------------------ running

    def take_signals(self) -> None:
        """From now on signals go to the command, also those that come before it is started."""
        for number in _FORWARDED:
            # Who started us with a signal ignored (nohup) wants the command to ignore it, too.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def after_its_end(self, on_signal: Callable[[], None]) -> None:
        """What a signal does that would end the command, and comes when it has ended."""
        self._on_late_signal = on_signal

    def run(self, environment: dict[str, str], stdout: int | None, stderr: int | None) -> int:
        """Start it, wait for its end, and give its exit code; 128 + n when signal n ended it.

        Raises:
            CommandFailed: It can't be started.
        """
        try:
            self._process = subprocess.Popen(
                self._argv,
                env=environment,
                stdout=stdout,
                stderr=stderr,
                process_group=0 if self._own_group else None,
            )
        except OSError as error:
            raise self.not_started(error) from None
        for number in self._waiting_signals:
            self._forward(number)
        if self.asked.is_set():
            self._end()
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def not_started(self, error: OSError) -> CommandFailed:
        """What to say when it can't be started."""
        name = self._argv[0]
        if error.errno == errno.ENOENT and not _is_there(name):
            return failed(f"Command not found: {name}", NOT_FOUND)
        return failed(f"{name} can't be run: {error.strerror}", NOT_EXECUTABLE)

    def outcome(self, code: int) -> CommandFailed | CommandCanceled | None:
        """What its exit code means for the step; None: it ended well."""
        assert self._process is not None
        ended_by = -self._process.returncode if self._process.returncode < 0 else None
        name = os.path.basename(self._argv[0])
        how = f"was ended by {signal_name(ended_by)}" if ended_by else f"ended with exit code {code}"
        told = [number for number in self._received if number in _ENDING]
        if self.asked.is_set() or (told and code != 0):
            why = "the run was asked to end" if self.asked.is_set() else f"after {signal_name(told[0])}"
            return _canceled(f"{name} {how}, {why}")
        return failed(f"{name} {how}", code) if code != 0 else None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._process is not None and self._process.returncode is not None:
            # It has ended, and another process may have its number: the recorder alone goes on.
            if number in _ENDING:
                self._on_late_signal()
            return
        self._received.append(number)
        if self._process is None:
            self._waiting_signals.append(number)
        elif self._own_group or number not in _FROM_TERMINAL:
            self._forward(number)
        # Else: what the terminal sends, it has sent to the command as well.

    def _forward(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._own_group:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


def record_command(argv: Sequence[str], step_key: str, begin: Callable[[ChildCommand], Run]) -> int:
    """Run a command as a step and give its exit code, whatever happens to the recording.

    Args:
        begin: Begins or joins the run; it gets what a request to end the run is to reach.
    """
    command = ChildCommand(argv)
    command.take_signals()
    try:
        run = begin(command)
    except RunTerminated as error:
        note(f"The command was not started. {error}")
        return TERMINATED
    command.after_its_end(run.hurry)
    code: int | None = None
    try:
        with run, run.child_step(step_key) as step:
            code = _run(command, run, step)
            ended = command.outcome(code)
            if ended is not None:
                raise ended
    except CommandFailed as error:
        if code is None:
            note(str(error))
            code = error.code
    except CommandCanceled as error:
        # Who sent a signal knows; an end that came from elsewhere would be an exit code without a reason.
        if command.asked.is_set():
            note(f"{error}.")
    except Exception as error:
        note(f"Recording failed: {type(error).__name__}: {error}")
        if code is None:
            code = command.run(dict(os.environ), None, None)
    assert code is not None
    return code


def _run(command: ChildCommand, run: Run, step: Step) -> int:
    files = step.child
    environment = dict(os.environ)
    # Python holds back 8 KiB on a file: nothing would be live, and a killed command's last words would be lost.
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment[RUN_ID_VARIABLE] = run.run_id
    for name in DESTINATION_VARIABLES:
        environment.pop(name, None)
    environment |= run.destination_environment
    return command.run(environment, files.stdout_fd if files else None, files.stderr_fd if files else None)


def failed(message: str, code: int) -> CommandFailed:
    """An error without a stack: ours says nothing about the command."""
    error = CommandFailed(message, code)
    carry(error, {"className": None, "message": message, "stack": [], "cause": None})
    return error


def _canceled(message: str) -> CommandCanceled:
    error = CommandCanceled(message)
    carry(error, {"className": None, "message": message, "stack": [], "cause": None})
    return error


def _is_there(name: str) -> bool:
    return os.sep in name and os.path.exists(name)


def _shares_terminal() -> bool:
    """True in the foreground of a terminal: there the command stays in our process group, so that it may read from
    the terminal, and gets Ctrl-C and Ctrl-Z from it as it would without us."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
