"""What one process captures: which steps are open, and where its descriptors and Python's streams point meanwhile."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from weakref import WeakSet

from daglens.recorder.capture_console import Console, Ticker, watch_pause_s
from daglens.recorder.capture_descriptor import LineBuffering, StandardDescriptor, flush_standard_streams
from daglens.recorder.capture_file import DEFAULT_RESERVE_BYTES, CapturedFile, free_bytes, why_not
from daglens.recorder.capture_router import Router
from daglens.recorder.capture_step import (
    CaptureResult,
    Files,
    Paths,
    SharedLog,
    StepCapture,
    current_step,
    step_in_context,
)


class Capture:
    """What this process captures. There is one, behind the functions of this module."""

    def __init__(self) -> None:
        self._steps: list[StepCapture] = []
        self._descriptors = (StandardDescriptor(1), StandardDescriptor(2))
        self._targets: Files | None = None
        self._inherited_targets: Files | None = None
        self._routers: list[tuple[Router, Router]] = []
        self._keeps_routers = False
        # Also those that a handler of `logging` holds on to after its step.
        self._all_routers: WeakSet[Router] = WeakSet()
        self._buffering = LineBuffering()
        self._lock = threading.RLock()
        self.console = Console()
        self._watched: list[CapturedFile] = []
        self._watcher = Ticker("daglens-disk", self._look_at_disk, lambda: bool(self._watched))
        self._at_exit = False

    # ------------------------------------------------------------ steps

    def open_step(
        self, key: str, stdout_path: str | os.PathLike[str], stderr_path: str | os.PathLike[str],
        *, shared: SharedLog | None = None, reserve_bytes: int = DEFAULT_RESERVE_BYTES,
    ) -> StepCapture:  # fmt: skip
        """Begin to capture into two files (appended to, made when missing; their folders exist).

        Never raises for a disk or a file: the step then has `captured` False and a `problem`, and its output goes to
        the console alone. It becomes the step of this context.
        """
        with self._lock:
            files, problem = self.open_files((stdout_path, stderr_path), reserve_bytes)
            step = StepCapture(self, key, files, problem, shared, current_step())
            self._steps.append(step)
            if not self._at_exit:
                self._at_exit = True
                atexit.register(self.abandon)
            if len(self._steps) == 1:
                self._buffering.begin()
            self._put_routers()
            self._retarget(retake=True)
            self._follow(files)
        step_in_context.set(step)
        return step

    def close_step(self, step: StepCapture) -> CaptureResult:
        """See StepCapture.close."""
        if step.pid != os.getpid():
            self._flush_routers()
            return CaptureResult(False, step.captured, False, step.is_shared, step.problem)
        with self._lock:
            closes = not step.closed
            if closes:
                for router in list(self._all_routers):
                    for file in step.files or ():
                        router.flush_file(file)
                step.closed = True
                step.parent = None if step.parent is None else step.parent.nearest_open()
                self._steps.remove(step)
                self._retarget(retake=False)
                if not self._steps:
                    self._take_routers_away()
                    self._buffering.end()
        if closes:
            self.finish_files(step.files)
        if step_in_context.get() is step:
            step_in_context.set(step.parent)
        truncated = any(file.truncated for file in step.files or ())
        return CaptureResult(True, step.captured, truncated, step.is_shared, step.problem)

    def close_shared(self, shared: SharedLog) -> CaptureResult:
        """See SharedLog.close."""
        if shared.pid != os.getpid():
            return CaptureResult(False, shared.opened, False, True, shared.problem)
        with self._lock:
            closes = not shared.closed
            if closes:
                for router in list(self._all_routers):
                    for file in shared.files or ():
                        router.flush_file(file)
                shared.closed = True
                self._retarget(retake=False)
        if closes:
            self.finish_files(shared.files)
        truncated = any(file.truncated for file in shared.files or ())
        return CaptureResult(True, shared.opened, truncated, True, shared.problem)

    def abandon(self) -> None:
        """At the interpreter's exit: write out, show the rest and give the descriptors back; nothing is complete."""
        for step in list(self._steps):
            self.close_step(step)

    # ------------------------------------------------------------ files

    def open_files(self, paths: Paths, reserve_bytes: int) -> tuple[Files | None, str | None]:
        """Open a pair of files for capture, or say why that can't be."""
        for descriptor in self._descriptors:
            descriptor.ensure_open()
        out, err = os.fspath(paths[0]), os.fspath(paths[1])
        problem = why_not(out, reserve_bytes, free_bytes)
        if problem is not None:
            return None, problem
        opened: list[CapturedFile] = []
        try:
            for path in (out, err):
                opened.append(CapturedFile(path, reserve_bytes))
        except OSError as error:
            for file in opened:
                file.close()
            return None, f"Output is not captured: {error.strerror or error} ({error.filename})."
        self._watched.extend(opened)
        self._watcher.wake()
        return (opened[0], opened[1]), None

    def follow_file(self, file: CapturedFile, number: int) -> None:
        """Show on the console what a file receives; `number` is 1 or 2."""
        descriptor = self._descriptors[number - 1]
        self.console.follow(file, descriptor.number if descriptor.console_fd is None else descriptor.console_fd)

    def finish_files(self, files: Files | None) -> None:
        """Show the rest of both, and close them."""
        for file in files or ():
            self.console.finish(file)
            with self._lock, contextlib.suppress(ValueError):
                self._watched.remove(file)
            file.close()

    @property
    def console_is_standard(self) -> bool:
        """True while descriptors 1 and 2 are the console's: a child process started now inherits the console."""
        return not any(descriptor.taken for descriptor in self._descriptors)

    def _follow(self, files: Files | None) -> None:
        for number, file in enumerate(files or (), 1):
            self.follow_file(file, number)

    def _look_at_disk(self) -> float:
        watched = list(self._watched)
        one_of_each = {(file.device, file.reserve_bytes): file for file in watched}
        spare = {disk: file.spare_bytes(free_bytes) for disk, file in one_of_each.items()}
        for file in watched:
            if spare[file.device, file.reserve_bytes] < 0:
                file.truncated = True
        if any(file.truncated for file in watched):
            self._give_up()
        return watch_pause_s(min(spare.values(), default=0))

    def _give_up(self) -> None:
        """After a file was truncated: descriptors that stand on it go back to the console."""
        with self._lock:
            if any(file.truncated and not file.left for file in self._targets or ()):
                self._retarget(retake=False)
                for file in self._targets or ():
                    file.left = file.truncated

    # ------------------------------------------------------------ where output goes

    def _retarget(self, *, retake: bool) -> None:
        """Point descriptors 1 and 2 where they belong with the steps that are open now."""
        targets = self._inherited_targets
        if len(self._steps) == 1:
            targets = self._steps[0].files
        elif self._steps:
            targets = self._shared_files()
        if not self._steps and not any(descriptor.taken for descriptor in self._descriptors):
            return
        flush_standard_streams()
        self._targets = targets
        for index, descriptor in enumerate(self._descriptors):
            if not self._steps:
                descriptor.release()
                continue
            file = None if targets is None else targets[index]
            descriptor.point_at(file if file is not None and file.usable else None, retake=retake)

    def _shared_files(self) -> Files | None:
        shared = next((step.shared for step in self._steps if step.shared is not None), None)
        if shared is None:
            return None
        was_open = shared.opened
        files = shared.open(self, self.open_files)
        if files is None:
            return None
        if not was_open:
            self._follow(files)
        for step in self._steps:
            if step.shared is shared and not step.is_shared:
                step.is_shared = True
                if step.key not in shared.step_keys:
                    shared.step_keys.append(step.key)
        return files

    def _target(self, index: int) -> CapturedFile | None:
        step = current_step()
        files = self._targets if step is None else step.files
        file = None if files is None else files[index]
        if file is None or file.usable:
            return file
        self.console.catch_up(file)
        return None

    def _after_a_short_write(self, file: CapturedFile) -> None:
        self._give_up()
        self.console.catch_up(file)

    def _show(self, index: int, data: bytes) -> bool:
        descriptor = self._descriptors[index]
        if not descriptor.taken:
            return False
        descriptor.show(data)
        return True

    # ------------------------------------------------------------ Python's streams

    def _put_routers(self) -> None:
        if self._routers and (sys.stdout, sys.stderr) == self._routers[-1]:
            return
        out, err = self._router(0, sys.stdout), self._router(1, sys.stderr)
        self._routers.append((out, err))
        sys.stdout, sys.stderr = out, err

    def _router(self, index: int, stream: object) -> Router:
        for pair in self._routers:
            if stream is pair[index]:
                return pair[index]
        router = Router(
            stream, lambda: self._target(index), lambda data: self._show(index, data), self._after_a_short_write
        )
        self._all_routers.add(router)
        return router

    def _take_routers_away(self) -> None:
        if self._keeps_routers:
            return
        while self._routers:
            out, err = self._routers.pop()
            if sys.stdout is out:
                sys.stdout = out.routed
            if sys.stderr is err:
                sys.stderr = err.routed

    def _flush_routers(self) -> None:
        for router in list(self._all_routers):
            with contextlib.suppress(ValueError, OSError):
                router.flush()

    # ------------------------------------------------------------ forks

    def before_fork(self) -> None:
        """Nothing half done, and no half line twice, in the child."""
        self._lock.acquire()
        self._flush_routers()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The parent's steps are where this process writes to, not what it has to end."""
        self._lock = threading.RLock()
        for file in self._watched:
            file.forked()
        for router in list(self._all_routers):
            router.forget_held()
        self._keeps_routers = bool(self._routers)
        self._inherited_targets = self._targets
        self._steps = []
        self._watched = []
        self._watcher = Ticker("daglens-disk", self._look_at_disk, lambda: bool(self._watched))
        self.console.forked()
        for descriptor in self._descriptors:
            descriptor.forked()
