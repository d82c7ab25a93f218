"""A few threads that come back to each job when it is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Job:
    """Something to do again and again.

    Attributes:
        work: Does it once; gives the seconds until the next time, None when there is none. Must not raise.
    """

    def __init__(self, work: Callable[[], float | None]) -> None:
        self.work = work
        self.due_s = 0.0
        self.running = False


class Workers:
    """Threads that are started with the first job. They end with the process, or with `stop`."""

    def __init__(self, count: int, name: str) -> None:
        """At most `count` jobs are at work at once."""
        self._count = count
        self._name = name
        self._jobs: set[Job] = set()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def add(self, job: Job) -> None:
        """Begin, at once; where no thread can be started, with one that there is, or when there is one."""
        with self._changed:
            self._jobs.add(job)
            if len(self._threads) < min(self._count, len(self._jobs)) and not self._stopped:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                # What a step writes is in its spool, and whoever comes next can send it.
                with suppress(RuntimeError):
                    thread.start()
                    self._threads.append(thread)
            self._changed.notify()

    def wake(self, job: Job) -> None:
        """It is due now; once more, when it is just at work."""
        with self._changed:
            job.due_s = 0.0
            self._changed.notify()

    def stop(self, timeout_s: float) -> None:
        """Begin no job any more, and wait so long for those at work."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            delay_s = job.work()
            with self._changed:
                job.running = False
                if delay_s is None:
                    self._jobs.discard(job)
                else:
                    job.due_s = min(job.due_s, time.monotonic() + delay_s)
                self._changed.notify()

    def _next(self) -> Job | None:
        """The next job that is due, taken; None: it is over."""
        with self._changed:
            while not self._stopped:
                idle = [job for job in self._jobs if not job.running]
                job = min(idle, key=lambda job: job.due_s, default=None)
                wait_s = None if job is None else job.due_s - time.monotonic()
                if job is not None and wait_s is not None and wait_s <= 0:
                    job.running = True
                    job.due_s = float("inf")
                    return job
                self._changed.wait(wait_s)
            return None
