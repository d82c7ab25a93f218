"""Capture of stdout and stderr per step, straight into files (design 8).

    shared = capture.SharedLog(lambda: ("/…/(process).out", "/…/(process).err"))     # one per run
    step = capture.open_step("extract", "/…/extract.out", "/…/extract.err", shared=shared)
    …                                   # print, os.write(1, …), children and their children: all in the files
    result = step.close()               # CaptureResult(owner, captured, truncated, shared, problem)
    shared.close()                      # at the end of the run

With one step open in the process, its files are what descriptors 1 and 2 point at: what is written there is in them,
whoever writes, and stays there when the process is killed. `sys.stdout` and `sys.stderr` are routed besides, by context
variable: always to the step that printed. While several steps are open, what is written below Python goes to the
`SharedLog` of the one that was opened first (without one: only to the console), as does text of a thread that belongs
to none of them. A new thread starts with an empty context: with one step open its text is that step's; else bind it:
`Thread(target=step.bind(work))`, or `with step.active(): …`. Steps may be closed in any order.

The console goes on showing everything. When the disk's free space falls below the reserve, the descriptors go back to
the console and the log is truncated; below it at the start nothing is captured, and `problem` says so. A child process
that holds a file already can't be moved. What still runs after `close` (a child in the background) goes on writing to
the file it holds, and is not shown.

A forked child inherits the capture: what it writes goes to the step it was forked in. When it unwinds the parent's
`with`, `close` changes nothing and says `owner=False`: then nothing may be marked complete or reported either. Steps
that it opens itself are its own.

A child process that gets files of its own from its start (`call_step(…, isolate=True)`, `daglens record`): streams.py.
"""

from __future__ import annotations

import os

from daglens.recorder.capture_file import DEFAULT_RESERVE_BYTES
from daglens.recorder.capture_process import Capture
from daglens.recorder.capture_step import CaptureResult, SharedLog, StepCapture, current_step

__all__ = ["DEFAULT_RESERVE_BYTES", "CaptureResult", "SharedLog", "StepCapture", "current_step", "open_step"]

process_capture = Capture()
open_step = process_capture.open_step

os.register_at_fork(
    before=process_capture.before_fork,
    after_in_parent=process_capture.after_fork_in_parent,
    after_in_child=process_capture.after_fork_in_child,
)
