"""Calling a function in a child process of its own, with output captured exactly.

The child stands on the step's log files from its first moment. It is started anew, as `multiprocessing` does with
"spawn": the function must be found by import. What it records comes back through a pipe; result, exception or signal
end the call. When the parent dies, the child ends too.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daglens.recorder.endings import StepProcessDied, StepProcessError
from daglens.recorder.failure import carry, signal_name
from daglens.recorder.interrupt import EndAsked, RunTerminated
from daglens.recorder.processes import end_tree
from daglens.recorder.step import Step

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LOOK_EVERY_S = 0.2
GRACE_S = 5.0
"""Between asking the child to end and making it."""

# sys.path first: the parent may have found daglens by a path that a fresh interpreter doesn't have.
_BOOT = "import sys; sys.path[:] = {path!r}; from daglens.recorder.isolated_child import main; main({inbox}, {outbox})"


class StackInChild(Exception):
    """Cause of an exception that came from a child process: its text is the stack there."""


def packed_call(key: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The call as bytes.

    Raises:
        TypeError: It can't be carried to another process; the message says what to do.
    """
    name = getattr(function, "__qualname__", "")
    if "<lambda>" in name or "<locals>" in name:
        raise TypeError(
            f"call_step({key!r}, …, isolate=True) runs its function in another process, which finds it by import: "
            f"{'a lambda' if '<lambda>' in name else 'a function inside a function'} can't be found ({name}). "
            "Define it at the top of a module."
        )
    try:
        return pickle.dumps((function, tuple(args), dict(kwargs)))
    except Exception as error:
        raise TypeError(
            f"call_step({key!r}, …, isolate=True) hands function and arguments to another process, so they must be "
            f"picklable: {error}"
        ) from error


def call_isolated(step: Step, call: bytes, end_asked: EndAsked) -> Any:
    """Run a packed call in a child and give back what it returns.

    Args:
        step: Open, with `child` files if its output is captured.
        end_asked: When it is set, the child is ended and RunTerminated raised.

    Raises:
        StepProcessDied: A signal ended the child, or it exited, before there was a result.
        StepProcessError: It raised what can't be pickled.
        BaseException: What the function raised.
    """
    from multiprocessing.connection import Connection

    child_inbox, to_child = os.pipe()
    from_child, child_outbox = os.pipe()
    with Connection(to_child, readable=False) as inbox, Connection(from_child, writable=False) as outbox:
        try:
            process = _start(step, child_inbox, child_outbox)
        finally:
            os.close(child_inbox)
            os.close(child_outbox)
        try:
            # Should the child die at once, the answer tells, not the broken pipe.
            with contextlib.suppress(OSError):
                inbox.send_bytes(_task(step, call))
            answer = _answer(step, process, inbox, outbox, end_asked)
        except BaseException:
            end_tree(process, GRACE_S)
            raise
        process.wait()
    return _outcome(step, process, answer)


def _start(step: Step, inbox: int, outbox: int) -> subprocess.Popen[bytes]:
    from multiprocessing import spawn

    boot = _BOOT.format(path=[entry or os.getcwd() for entry in sys.path], inbox=inbox, outbox=outbox)
    executable = os.fsdecode(spawn.get_executable() or sys.executable)
    files = step.child
    # The same process group, so that Ctrl-C reaches it wherever this process waits.
    return subprocess.Popen(
        [executable, *subprocess._args_from_interpreter_flags(), "-c", boot],  # type: ignore[attr-defined]
        stdin=subprocess.DEVNULL,
        stdout=files.stdout_fd if files else None,
        stderr=files.stderr_fd if files else None,
        pass_fds=(inbox, outbox),
    )


def _task(step: Step, call: bytes) -> bytes:
    from multiprocessing import spawn

    preparation = spawn.get_preparation_data(f"step {step.key}")
    preparation["authkey"] = bytes(preparation["authkey"])
    streams = step.child.streams if step.child else None
    if streams is not None:
        # It finds its own files at its descriptors, so there is no console to go back to.
        streams = replace(streams, inherits_console=False)
    return pickle.dumps(
        {
            "preparation": preparation,
            "streams": streams,
            "run_id": step.run_id,
            "key": step.key,
            "attempt": step.attempt,
            "call": call,
        }
    )


def _answer(
    step: Step,
    process: subprocess.Popen[bytes],
    inbox: Connection[Any, Any],
    outbox: Connection[Any, Any],
    end_asked: EndAsked,
) -> tuple[Any, ...] | None:
    """What the child answers, its events passed on meanwhile; None: it ended without an answer."""
    from multiprocessing.connection import wait

    with _watched(process) as exit_fd:
        while True:
            # Read before asking whether it lives: what it sent before its end counts.
            ended = process.poll() is not None
            while outbox.poll():
                try:
                    kind, *rest = pickle.loads(outbox.recv_bytes())
                except EOFError:
                    ended = True
                    break
                if kind == "event":
                    step.record_event(rest[0])
                elif kind == "artifact_folder":
                    inbox.send_bytes(pickle.dumps(str(step.artifact_folder())))
                else:
                    return (kind, *rest)
            if ended:
                process.wait()
                return None
            if end_asked.is_set():
                raise RunTerminated("The run was asked to end.")
            wait([outbox] if exit_fd is None else [outbox, exit_fd], LOOK_EVERY_S)


@contextlib.contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Any:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _outcome(step: Step, process: subprocess.Popen[bytes], answer: tuple[Any, ...] | None) -> Any:
    if answer is None:
        raise _died(step.key, process.returncode)
    kind, truncated, *rest = answer
    step.child_truncated = truncated
    if kind == "returned":
        return pickle.loads(rest[0])
    pickled, data = rest
    error: BaseException | None = None
    if pickled is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(pickled)
    if not isinstance(error, BaseException):
        error = StepProcessError(f"{data['className']}: {data['message']}")
    carry(error, data)
    error.__cause__ = StackInChild("\n\n" + "".join(data["stack"]))
    raise error


def _died(key: str, return_code: int) -> StepProcessDied:
    if return_code < 0:
        name = signal_name(-return_code)
        hint = " Often that is the kernel, out of memory." if -return_code == signal.SIGKILL else ""
        return StepProcessDied(f"The process of step {key!r} was ended by {name}.{hint}", None, -return_code)
    return StepProcessDied(
        f"The process of step {key!r} ended with exit code {return_code} and without a result.", return_code
    )
