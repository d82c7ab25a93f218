"""Several processes that answer on one port: the first starts them, starts again what dies, and ends with all of them.

uvicorn's own supervisor runs uvicorn's own server class, leaves the workers running when it is killed, and starts a
worker that can't start again and again or not at all; its parts aren't public. So this is ours, out of `fork`: the
listening socket is shared, connections that wait in it outlive a worker, and a worker goes on as a lone server would.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from daglens.server.telemetry.neighbours import Neighbours

log = logging.getLogger("daglens.server")

TRIES = 5
"""So often in a row a worker may end before it answers; the server then ends."""

_FIRST_PAUSE_S = 0.25
_LEAST_BETWEEN_S = 1.0
_READY = b"r"
_SIGNS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Worker:
    """This process, as one of several.

    Attributes:
        number: From 1; who is started in place of one that died has its number.
        is_first: It is the first that was ever started.
        neighbours: The others.
    """

    number: int
    is_first: bool
    neighbours: Neighbours
    _told: int

    def ready(self) -> None:
        """Say that it answers."""
        os.write(self._told, _READY)


def become_workers(count: int, *, grace_s: float, on_end: Callable[[], None]) -> Worker:
    """Start `count` processes and return in each of them; whoever called sees to them and doesn't return.

    The first is started alone: what is wrong with the instance is said once, and what has to be set up one sets up.
    A worker that dies is started again. SIGTERM and SIGINT end all; whoever has not ended `grace_s` seconds later is
    killed. `on_end` is called in the process that called, before workers are asked to end: it gives up what it shares
    with them. Workers end by themselves, as if asked to, when the process that started them is gone, however it went.
    Call it from the main thread, while there is no other.

    Raises:
        SystemExit: In the process that called: 0 when all have ended as asked; 1 when one had to be killed; what a
            worker ended with when workers can't be started.
    """
    return _Supervisor(count, grace_s, on_end).run()


@dataclass(slots=True)
class _Child:
    number: int
    pid: int
    started: float
    is_ready: bool = False


@dataclass(slots=True)
class _Supervisor:
    count: int
    grace_s: float
    on_end: Callable[[], None]
    _due: dict[int, float] = field(default_factory=dict)
    """Numbers of the workers to be started, and when."""
    _children: dict[int, _Child] = field(default_factory=dict)
    """By the descriptor that tells of them."""
    _asked: bool = False
    _ever_ready: bool = False
    _forked: bool = False
    _failures: int = 0
    _code: int = 0
    _kill_at: float | None = None

    def run(self) -> Worker:
        """See become_workers."""
        # Whoever holds the other end lives: a pipe ends however its writer does.
        alive, life = os.pipe()
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        before = {sign: signal.signal(sign, self._on_signal) for sign in _SIGNS}
        old_wake = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # What all share stays shared: looking for garbage writes to every object.
        gc.collect()
        gc.freeze()
        folder = TemporaryDirectory(prefix="daglens-workers-")
        self._due[1] = 0.0
        while self._due or self._children:
            if self._asked:
                self._end()
            elif (told := self._start()) is not None:
                number, pipe = told
                for sign, handler in before.items():
                    signal.signal(sign, handler)
                signal.set_wakeup_fd(old_wake)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNS)
                for descriptor in (life, woken, wake, *self._children):
                    os.close(descriptor)
                threading.Thread(target=_end_with, args=(alive, self.grace_s), daemon=True).start()
                # It is the parent's to remove.
                folder._finalizer.detach()  # type: ignore[attr-defined]
                return Worker(number, not self._forked, Neighbours(Path(folder.name), number), pipe)
            if self._asked and self._kill_at is None:
                continue  # just now, by what could not be started
            self._wait(woken)
        folder.cleanup()
        raise SystemExit(self._code)

    def _on_signal(self, number: int, frame: object) -> None:
        self._asked = True

    def _start(self) -> tuple[int, int] | None:
        """Start what is due. In the new process: its number, and the pipe to tell by."""
        for number in [number for number, at in self._due.items() if at <= time.monotonic()]:
            del self._due[number]
            tells, told = os.pipe()
            # Until the handlers of the worker are its own, a request to end would set a flag that nobody there reads.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNS)
            try:
                pid = os.fork()
            except OSError as error:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNS)
                os.close(tells)
                os.close(told)
                self._failed(f"Worker {number} can't be started: {error.strerror}", number, 1)
                continue
            if not pid:
                os.close(tells)
                return number, told
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNS)
            os.close(told)
            self._children[tells] = _Child(number, pid, time.monotonic())
            self._forked = True
        return None

    def _wait(self, woken: int) -> None:
        times = [*self._due.values(), *(() if self._kill_at is None else (self._kill_at,))]
        with selectors.DefaultSelector() as selector:
            for descriptor in (woken, *self._children):
                selector.register(descriptor, selectors.EVENT_READ)
            timeout_s = max(0.0, min(times) - time.monotonic()) if times else None
            for key, _ in selector.select(timeout_s):
                if key.fd == woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                elif os.read(key.fd, 1) == _READY:
                    self._answers(self._children[key.fd])
                else:
                    os.close(key.fd)
                    self._ended(self._children.pop(key.fd))

    def _answers(self, child: _Child) -> None:
        log.info("Worker %d (process %d) answers", child.number, child.pid)
        child.is_ready = True
        self._failures = 0
        if not self._ever_ready:
            self._ever_ready = True
            self._due = dict.fromkeys(range(2, self.count + 1), 0.0)

    def _ended(self, child: _Child) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if self._asked:
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"
        who = f"Worker {child.number} (process {child.pid})"
        now = time.monotonic()
        if child.is_ready:
            log.warning("%s %s; it is started again.", who, how)
            self._due[child.number] = max(now, child.started + _LEAST_BETWEEN_S)
            return
        self._failed(f"{who} {how} before it answered", child.number, code)

    def _failed(self, what: str, number: int, code: int) -> None:
        """Try a worker that has not come to answer again, or give up."""
        self._failures += 1
        if self._ever_ready and self._failures < TRIES:
            pause_s = _FIRST_PAUSE_S * 2 ** (self._failures - 1)
            log.warning("%s; it is tried again in %g s.", what, pause_s)
            self._due[number] = time.monotonic() + pause_s
            return
        if self._ever_ready:
            log.error("%s, as %d did before it; the server ends.", what, TRIES - 1)
        elif code < 0 or not self._forked:
            log.error("%s.", what)
        self._code = code if code > 0 else 1
        self._asked = True

    def _end(self) -> None:
        """Ask all to end, once; kill those that have not ended in time."""
        self._due.clear()
        now = time.monotonic()
        if self._kill_at is None:
            self._kill_at = now + self.grace_s
            self.on_end()
            self._tell(signal.SIGTERM)
        elif now >= self._kill_at:
            log.error("%d workers have not ended within %g s; they are killed.", len(self._children), self.grace_s)
            self._code = self._code or 1
            self._kill_at = now + self.grace_s
            self._tell(signal.SIGKILL)

    def _tell(self, sign: signal.Signals) -> None:
        # Those here have not been waited for: their numbers are nobody else's.
        for child in self._children.values():
            os.kill(child.pid, sign)


def _end_with(alive: int, grace_s: float) -> None:
    """End this process once whoever started it is gone."""
    os.read(alive, 1)
    log.warning("The process that started this worker is gone; it ends.")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(1)
