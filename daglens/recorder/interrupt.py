"""How a request to end a run reaches the code that runs it.

A run that was started in an asyncio task: the task is cancelled. In the main thread: `RunTerminated` is raised there,
also out of a `sleep` or a read, by a signal. In another thread: `RunTerminated` is raised at its next step of Python.
While a run is open and nobody else handles SIGTERM, SIGTERM raises `RunTerminated` in the main thread as well.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final, Protocol

from daglens.recorder.processes import Families

ORPHANS_GRACE_S: Final = 5.0
"""How long what a child has left behind may take to end."""


class RunTerminated(KeyboardInterrupt):
    """The run was asked to end: by `terminateRun`, or by SIGTERM. Like Ctrl-C, it is no `Exception`."""


class EndAsked:
    """Whether a run's end was asked for; any number of threads may wait for it.

    A `threading.Event` won't do: a signal's handler that sets it waits for ever when its own thread is just being woken
    by it, and holds its lock. 2 of 12 terminations of a run that pauses ended so, on a loaded machine.
    """

    def __init__(self) -> None:
        self._is_set = False
        # Its methods may be called anew by the thread that is in one of them.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """It was. From any thread, and from a signal's handler."""
        self._is_set = True
        self._wakes.put(None)

    def is_set(self) -> bool:
        """Whether it was."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Wait for it, at most that long; whether it was asked for."""
        try:
            self._wakes.get(timeout=timeout_s)
        except queue.Empty:
            pass
        finally:
            if self._is_set:
                self._wakes.put(None)  # for whoever else waits
        return self._is_set


class Interruptible(Protocol):
    """What a request to end a run reaches.

    Attributes:
        asked: Set once the end was asked for: whoever waits in another thread should stop waiting.
    """

    asked: EndAsked

    def arm(self) -> None:
        """From now on `interrupt` works."""
        ...

    def disarm(self) -> None:
        """From now on `interrupt` does nothing. May be called twice, from any thread."""
        ...

    def interrupt(self) -> None:
        """Deliver the request, once, from any thread."""
        ...


class Interrupter:
    """Reaches the task or thread that it was made in."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._in_main = threading.current_thread() is threading.main_thread()
        self._loop, self._task = _running_task()
        self._lock = threading.RLock()  # a program's own handler of a signal may end the run
        self._armed = False
        self._families: Families | None = None
        self.asked = EndAsked()

    def arm(self) -> None:
        """See Interruptible."""
        with self._lock:
            self._armed = True
        _sigterm.take(self)

    def disarm(self) -> None:
        """See Interruptible."""
        with self._lock:
            self._armed = False
            if self.asked.is_set() and self._task is None and not self._in_main:
                # The thread may have seen `asked` itself, and the exception be still on its way.
                _take_back(self._thread_id)
            families, self._families = self._families, None
        _sigterm.give_back(self)
        if families is not None:
            families.end_orphans(ORPHANS_GRACE_S)

    def interrupt(self) -> None:
        """See Interruptible."""
        with self._lock:
            if not self._armed or self.asked.is_set():
                return
            self._families = Families()
            try:
                self._deliver()
            finally:  # where it is raised here, in a forked child for one, it is raised once, too
                # Last: who is woken by it would be interrupted once more, while it ends a step or the run.
                self.asked.set()

    def _deliver(self) -> None:
        if self._task is not None and self._loop is not None:
            # RuntimeError: the loop is closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel, "The run was asked to end.")
        elif self._in_main:
            _sigterm.raise_in_main(self._thread_id)
        else:
            _raise_in_thread(self._thread_id)

    def start_in_child(self) -> None:
        """After a fork, in the child: another thread may have held the lock."""
        self._lock = threading.RLock()


def _running_task() -> tuple[Any, Any]:
    # Nobody runs a loop who has not imported asyncio, and the import takes 50 ms.
    asyncio = sys.modules.get("asyncio")
    # In a notebook the task is the kernel's own, which must not be cancelled.
    if asyncio is None or "ipykernel" in sys.modules:
        return None, None
    try:
        return asyncio.get_running_loop(), asyncio.current_task()
    except RuntimeError:
        return None, None


def _raise_in_thread(thread_id: int, kind: type[BaseException] | None = RunTerminated) -> None:
    """Raise an exception of this kind there; None: not the one that isn't raised yet."""
    import ctypes

    raised = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)


class _TakenBack(BaseException):
    """Stands in for an exception that was taken back."""


def _take_back(thread_id: int) -> None:
    """Take back what is to be raised in a thread and isn't raised yet."""
    _raise_in_thread(thread_id, None)
    # Until 3.13 CPython then looks for it at each call, for ever, and under a profiler or debugger looks for it in
    # place of going on. That ends when something is raised: here, now.
    try:
        _raise_in_thread(threading.get_ident(), _TakenBack)
        while True:
            pass
    except _TakenBack:
        return
    except BaseException:  # Ctrl-C came first
        with contextlib.suppress(_TakenBack):
            while True:
                pass
        raise


class _Sigterm:
    """SIGTERM while runs are open: ours where it would end the process without a word, else left alone."""

    def __init__(self) -> None:
        self._open: set[Interrupter] = set()
        self._before: Any = None
        self._installed = False
        self._own_signals = 0
        self._mask_before_fork: Any = None

    def take(self, interrupter: Interrupter) -> None:
        self._open.add(interrupter)
        if self._installed or threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM)
        # What removes an ephemeral instance's folder ends the process as well; it has its turn when we are done.
        if before is signal.SIG_DFL or getattr(before, "__module__", "") == "daglens.temporary_home":
            signal.signal(signal.SIGTERM, self._on_signal)
            self._before, self._installed = before, True

    def give_back(self, interrupter: Interrupter) -> None:
        self._open.discard(interrupter)
        if self._open or not self._installed or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, self._before)
        self._installed = False  # last: Ctrl-C may have come before, and then this is called again

    def raise_in_main(self, thread_id: int) -> None:
        if self._installed and signal.getsignal(signal.SIGTERM) == self._on_signal:
            self._own_signals += 1
            signal.pthread_kill(thread_id, signal.SIGTERM)
        elif callable(signal.getsignal(signal.SIGINT)):
            signal.pthread_kill(thread_id, signal.SIGINT)
        else:
            _raise_in_thread(thread_id)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        is_own = self._own_signals > 0
        if is_own:
            self._own_signals -= 1
        if self._open:
            for interrupter in list(self._open):
                interrupter.asked.set()
            raise RunTerminated("The run was asked to end." if is_own else "SIGTERM")
        if is_own:
            return  # it came too late: the run has ended
        if callable(self._before):
            self._before(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def before_fork(self) -> None:
        """Hold SIGTERM back: Python drops a signal that reaches a child before it has set itself up."""
        if self._installed:
            self._mask_before_fork = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def go_on_in_parent(self) -> None:
        """Undo `before_fork`."""
        before, self._mask_before_fork = self._mask_before_fork, None
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start_in_child(self) -> None:
        """After a fork: the run isn't this process's, and SIGTERM ends it as it would have."""
        for interrupter in self._open:
            interrupter.start_in_child()
        self._open.clear()
        self._own_signals = 0
        if self._installed and signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, self._before)
        self._installed = False
        self.go_on_in_parent()


_sigterm = _Sigterm()
os.register_at_fork(
    before=_sigterm.before_fork,
    after_in_parent=_sigterm.go_on_in_parent,
    after_in_child=_sigterm.start_in_child,
)
