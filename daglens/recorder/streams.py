"""Capture for a child process that has log files of its own from its start.

In the parent, for `call_step(…, isolate=True)` and for `daglens record`:

    child = open_child("/…/extract.out", "/…/extract.err")
    Popen(command, stdout=child.stdout_fd, stderr=child.stderr_fd)     # a command: its descriptors are the files
    context.Process(target=main, args=(child.streams, …))              # or Python: it attaches itself, first thing
    result = child.close()                                             # after the child's end: CaptureResult

In the Python child:

    attached = streams.attach()
    …
    truncated = attached.finish()                                      # hand it to `child.close(truncated)`

The parent shows on its console what the files receive. A Python child watches the disk itself and gives its
descriptors back below the reserve. A command that holds the files can't be moved: on a full disk its own writes fail.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from daglens.recorder.capture import process_capture
from daglens.recorder.capture_console import Ticker, watch_pause_s
from daglens.recorder.capture_descriptor import LineBuffering, StandardDescriptor, flush_standard_streams
from daglens.recorder.capture_file import DEFAULT_RESERVE_BYTES, CapturedFile, free_bytes
from daglens.recorder.capture_step import CaptureResult, Files


@dataclass(frozen=True, slots=True)
class StepStreams:
    """What a Python child needs to stand on files of its own. It can be pickled.

    Attributes:
        inherits_console: What the child finds at its descriptors is the console, and what they go back to when the
            disk is full. Else it is the log of some other step: then they go to the null device.
    """

    stdout_path: str
    stderr_path: str
    reserve_bytes: int
    inherits_console: bool

    def attach(self) -> AttachedStreams:
        """In the child: point descriptors 1 and 2 at the files, for the rest of the process."""
        return AttachedStreams(self)


class AttachedStreams:
    """A child's descriptors on its own files."""

    def __init__(self, streams: StepStreams) -> None:
        """As `StepStreams.attach`. Files that can't be opened leave a descriptor as it is, and count as truncated."""
        self._truncated = False
        self._descriptors: list[tuple[StandardDescriptor, CapturedFile]] = []
        flush_standard_streams()
        for number, path in ((1, streams.stdout_path), (2, streams.stderr_path)):
            descriptor = StandardDescriptor(number)
            descriptor.ensure_open()
            try:
                file = CapturedFile(path, streams.reserve_bytes)
            except OSError:
                self._truncated = True
                continue
            if not streams.inherits_console:
                null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(null, number)
                os.close(null)
            descriptor.point_at(file)
            self._descriptors.append((descriptor, file))
        LineBuffering().begin()
        self._watcher = Ticker("daglens-disk", self._look_at_disk, lambda: not self._truncated)
        self._watcher.wake()

    def finish(self) -> bool:
        """Write out what Python and C hold; True when the files don't have everything. The descriptors stay, so that
        a last traceback is in the log too."""
        flush_standard_streams()
        return self._truncated

    def _look_at_disk(self) -> float:
        spare = min((file.spare_bytes(free_bytes) for _, file in self._descriptors), default=0)
        if spare < 0:
            self._truncated = True
            for descriptor, _ in self._descriptors:
                descriptor.point_at(None, retake=False)
        return watch_pause_s(spare)


class ChildCapture:
    """The parent's side: files for a child process, shown on the console while they grow."""

    def __init__(self, files: Files | None, streams: StepStreams | None, problem: str | None) -> None:
        self.problem = problem
        self.streams = streams
        self._files = files
        self._pid = os.getpid()
        self._closed = False
        for number, file in enumerate(files or (), 1):
            process_capture.follow_file(file, number)

    @property
    def captured(self) -> bool:
        """False when nothing is captured; `problem` says why."""
        return self._files is not None

    @property
    def stdout_fd(self) -> int | None:
        """For a command's stdout; None: nothing is captured, it inherits ours."""
        return None if self._files is None else self._files[0].fd

    @property
    def stderr_fd(self) -> int | None:
        """For a command's stderr, likewise."""
        return None if self._files is None else self._files[1].fd

    def close(self, child_truncated: bool = False) -> CaptureResult:
        """After the child's end: show the rest and close. May be called twice."""
        if self._pid != os.getpid():
            return CaptureResult(False, self.captured, False, False, self.problem)
        if not self._closed:
            self._closed = True
            process_capture.finish_files(self._files)
        truncated = child_truncated or any(file.truncated for file in self._files or ())
        return CaptureResult(True, self.captured, truncated, False, self.problem)


def open_child(
    stdout_path: str | os.PathLike[str],
    stderr_path: str | os.PathLike[str],
    *,
    reserve_bytes: int = DEFAULT_RESERVE_BYTES,
) -> ChildCapture:
    """Open two files for a child that is about to start. Never raises for a disk or a file: see `problem`."""
    files, problem = process_capture.open_files((stdout_path, stderr_path), reserve_bytes)
    if files is None:
        return ChildCapture(None, None, problem)
    streams = StepStreams(files[0].path, files[1].path, reserve_bytes, process_capture.console_is_standard)
    return ChildCapture(files, streams, None)
