"""What runs in the child process of `call_step(…, isolate=True)`."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from daglens.recorder.failure import error_data
from daglens.recorder.interrupt import RunTerminated
from daglens.recorder.problems import Problems
from daglens.recorder.run_artifacts import ArtifactFolder
from daglens.recorder.step_events import StepEvents, StepSkipped, step_in_context
from daglens.storage.records import EventDraft

ORPHAN_GRACE_S = 5.0


def main(inbox_fd: int, outbox_fd: int) -> NoReturn:
    """Take a task from the inbox, do it, put the answer into the outbox, and exit."""
    for fd in (inbox_fd, outbox_fd):
        os.set_inheritable(fd, False)
    inbox = Connection(inbox_fd, writable=False)
    outbox = _Outbox(Connection(outbox_fd, readable=False))
    try:
        task = pickle.loads(inbox.recv_bytes())
    except EOFError:
        os._exit(1)
    parent = _Parent(inbox, outbox)
    signal.signal(signal.SIGTERM, _on_sigterm)
    streams = task["streams"].attach() if task["streams"] is not None else None
    kind, *rest = _do(task, outbox, parent)
    _flush()
    outbox.put((kind, streams.finish() if streams else False, *rest))
    outbox.finish()
    parent.let_go()
    _leave(0 if kind == "returned" else 1)


def _do(task: dict[str, Any], outbox: _Outbox, parent: _Parent) -> tuple[Any, ...]:
    try:
        _prepare(task["preparation"])
        try:
            function, args, kwargs = pickle.loads(task["call"])
        except Exception as error:
            raise TypeError(
                f"The function or an argument of step {task['key']!r} is not found in its process ({error}). It must "
                "stand at the top of a module that can be imported; what is typed in at a prompt can't."
            ) from error
        artifacts = ArtifactFolder(parent.artifact_folder, Problems())
        step = StepEvents(task["run_id"], task["key"], task["attempt"], outbox.event, artifacts)
        step_in_context.set(step)
        result = function(*args, **kwargs)
        return ("returned", pickle.dumps(result))
    except BaseException as error:
        return ("raised", _packed(error), error_data(error))


def _prepare(preparation: dict[str, Any]) -> None:
    """Make this process like its parent, as far as import goes: path, arguments, folder, main module."""
    from multiprocessing import process, spawn

    current = process.current_process()
    # This is how a main module that begins a run while it is imported again is told apart (start_run asks).
    current._inheriting = True  # type: ignore[attr-defined]
    try:
        spawn.prepare(preparation)
    finally:
        del current._inheriting  # type: ignore[attr-defined]


def _packed(error: BaseException) -> bytes | None:
    """The exception as bytes; None when it doesn't survive the way."""
    if isinstance(error, StepSkipped):
        return pickle.dumps(error)
    try:
        packed = pickle.dumps(error)
        return packed if type(pickle.loads(packed)) is type(error) else None
    except Exception:
        return None


class _Outbox:
    """Sends from a thread of its own: a signal that raises in the main thread can't cut a message in two."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="daglens-outbox", daemon=True)
        self._thread.start()

    def put(self, message: tuple[Any, ...]) -> None:
        self._queue.put(pickle.dumps(message))

    def event(self, event: EventDraft) -> None:
        self.put(("event", event))

    def finish(self) -> None:
        """Wait until everything is sent."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            with contextlib.suppress(OSError):
                self._connection.send_bytes(message)


class _Parent:
    """The parent, as far as its pipe tells: it answers questions, and when it is gone this process ends."""

    def __init__(self, inbox: Connection[Any, Any], outbox: _Outbox) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._folders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._let_go = False
        self._main = threading.get_ident()
        threading.Thread(target=self._run, name="daglens-parent", daemon=True).start()

    def artifact_folder(self) -> Path:
        """The run's folder."""
        self._outbox.put(("artifact_folder",))
        return Path(self._folders.get())

    def let_go(self) -> None:
        """From now on its end is nothing to us."""
        self._let_go = True

    def _run(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._folders.put(pickle.loads(self._inbox.recv_bytes()))
        if not self._let_go:
            # To the main thread: a signal to the process may go to this one, and leave the main thread asleep.
            signal.pthread_kill(self._main, signal.SIGTERM)
            threading.Timer(ORPHAN_GRACE_S, os._exit, (1,)).start()


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise RunTerminated("The run was asked to end.")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _leave(code: int) -> NoReturn:
    """End as a child of multiprocessing does: its own finalizers run, then the process is gone."""
    from multiprocessing import util

    with contextlib.suppress(BaseException):
        util._exit_function()  # type: ignore[attr-defined]
    sys.exit(code)
