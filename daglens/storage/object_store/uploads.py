"""All captures of this process on their way to the store, and those that dead processes left behind."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path

from daglens.storage.object_store.bucket import Bucket, usable_here
from daglens.storage.object_store.capture_upload import CaptureUpload
from daglens.storage.object_store.spool import Spool, folders, is_free
from daglens.storage.object_store.workers import Job, Workers
from daglens.storage.records import LeftoversState, LogKey
from daglens.storage.run_folders import unavailable

OPEN_WAIT_S = 5.0
"""How long the beginning of a step waits for the store."""

_THREADS = 4
_LOOK_EVERY_S = 30.0
_LOOK_SOON_S = 1.0
_DROP_WAIT_S = 5.0
_MOST = 64
"""Attempts that have ended and are sent at once; each holds a descriptor. More wait in the spool for their turn."""


class Uploads:
    """The uploads of one process. Makes no thread before the first capture."""

    def __init__(
        self, bucket: Bucket, prefix: str, local_dir: Path, *, interval_s: float, close_timeout_s: float
    ) -> None:
        """`local_dir` is made when it is needed."""
        self._bucket = bucket
        self._prefix = prefix
        self._local_dir = local_dir
        self._location = f"{bucket.location}/{prefix}"
        self._interval_s = interval_s
        self._close_timeout_s = close_timeout_s
        self._workers = Workers(_THREADS, "daglens-upload")
        self._uploads: dict[CaptureUpload, Job] = {}
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._failing = False
        self._problem: str | None = None
        self._is_asked = False
        self._leftovers: set[CaptureUpload] = set()
        self._finished_leftovers = 0
        self._looking: Job | None = None
        self._closed = False

    def begin(self, key: LogKey) -> CaptureUpload:
        """Begin to spool; the log exists in the store when this returns, unless the store doesn't answer in time.

        Raises:
            LogClosed: This attempt was captured before and is complete.
            StorageUnavailable: The spool can't be made.
        """
        try:
            spool = Spool.begin(self._local_dir, key, self._location)
        except OSError as error:
            raise unavailable(error) from error
        upload = self._upload(spool)
        # In a forked child nothing can be sent: its spool is left to its parent, or to the next process.
        if usable_here():
            self._add(upload)
            self.take_leftovers()
            if not self._failing and not upload.contacted.wait(OPEN_WAIT_S):
                # Nobody else waits so long, until the store has answered somebody.
                self._failing = True
            if upload.refusal is not None:
                raise upload.refusal
        return upload

    def end(self, upload: CaptureUpload, truncated: bool) -> None:
        """The step has ended: send the rest, waiting for it, but not for a store that is known to fail."""
        upload.end(truncated)
        job = self._uploads.get(upload)
        if job is None:
            if not upload.done.is_set():
                upload.spool.release()
            return
        with self._lock:
            crowded = len(self._uploads) > _MOST
        if crowded and self._failing:
            upload.leave()
        self._workers.wake(job)
        if self._failing:
            return
        if not upload.done.wait(self._close_timeout_s) and not self._failing:
            self._failing = True
            key = upload.spool.key
            self._say(
                "late",
                f"The log of step {key.step_key} is not all in {self._location} after {self._close_timeout_s:g} s; the "
                "rest follows while this process runs.",
            )

    def take_leftovers(self) -> None:
        """Look, now and then from now on, for what dead processes of this machine left in the spool, and send it."""
        with self._lock:
            if self._looking is None:
                self._looking = Job(self._look)
                self._workers.add(self._looking)

    def finish_leftovers(self, timeout_s: float) -> LeftoversState:
        """Send what dead processes left behind, and wait for so many seconds until all of it, and all that has ended
        here, is in the store. A spool that a living process holds doesn't count.

        Whoever waits here tells what is wrong by what this gives: from then on it isn't said on stderr as well.
        """
        self._is_asked = self._is_asked or timeout_s > 0
        what = f"compute logs for {self._location}"
        if not usable_here():
            return LeftoversState(0, 0, what)
        until_s = time.monotonic() + timeout_s
        while True:
            all_taken = self._take()
            with self._lock:
                ended = [upload for upload in self._uploads if upload.spool.state.closed]
            all_sent = all(upload.done.wait(max(0.0, until_s - time.monotonic())) for upload in ended)
            if time.monotonic() >= until_s or (all_taken and all_sent):
                break
        with self._lock:
            finished, self._finished_leftovers = self._finished_leftovers, 0
            left = sum(upload.spool.state.closed for upload in self._uploads)
        if not all_taken:
            left += sum(1 for folder in folders(self._local_dir) if is_free(folder, self._location))
        return LeftoversState(finished, left, what, self._problem if left else None)

    def drop(self, run_id: str) -> None:
        """The run is deleted: its spools of this machine go, and nothing more of it is sent by this process."""
        with self._lock:
            jobs = {upload: job for upload, job in self._uploads.items() if upload.spool.state.run_id == run_id}
        for upload, job in jobs.items():
            upload.drop(_DROP_WAIT_S)
            self._workers.wake(job)
        for folder in folders(self._local_dir, run_id):
            spool = Spool.take(folder, self._location)
            if spool is not None:
                spool.remove()

    def close(self) -> None:
        """Send the rest within the time that is given for it, and say what is left."""
        began_s = time.monotonic()
        if self._closed:
            return
        self._closed = True
        if self._looking is not None:
            self._take()
        with self._lock:
            uploads = dict(self._uploads)
        for upload, job in uploads.items():
            if not upload.spool.state.closed:
                upload.leave()
            self._workers.wake(job)
        for upload in uploads:
            upload.done.wait(max(0.0, began_s + self._close_timeout_s - time.monotonic()))
        self._workers.stop(max(1.0, began_s + self._close_timeout_s - time.monotonic()))
        left = [upload for upload in uploads if upload.left]
        for upload in left:
            upload.spool.release()
        if left and not self._is_asked:
            self._say(
                "left",
                f"{len(left)} compute logs are not all in {self._location}. They stay in {self._local_dir}. What next "
                "captures or serves logs of this store on this machine sends them, or: daglens recorder flush",
            )

    def _look(self) -> float:
        return _LOOK_EVERY_S if self._take() else _LOOK_SOON_S

    def _take(self) -> bool:
        """Begin with what dead processes left; False when there is more than can be sent at once."""
        for folder in folders(self._local_dir):
            if len(self._uploads) >= _MOST:
                return False
            spool = Spool.take(folder, self._location)
            if spool is not None:
                upload = self._upload(spool)
                upload.end(spool.state.truncated)
                with self._lock:
                    self._leftovers.add(upload)
                self._add(upload)
        return True

    def _upload(self, spool: Spool) -> CaptureUpload:
        return CaptureUpload(spool, self._bucket, self._prefix, self._interval_s, self._heard)

    def _add(self, upload: CaptureUpload) -> None:
        def work() -> float | None:
            delay_s = upload.run()
            if delay_s is None:
                with self._lock:
                    self._uploads.pop(upload, None)
                    if upload in self._leftovers:
                        self._leftovers.discard(upload)
                        self._finished_leftovers += not upload.left
                if upload.left:
                    upload.spool.release()
                if upload.refusal is not None:
                    self._say("refused", f"Output is not kept: {upload.refusal}")
            return delay_s

        job = Job(work)
        with self._lock:
            self._uploads[upload] = job
        self._workers.add(job)

    def _heard(self, error: Exception | None) -> None:
        was_failing, self._failing = self._failing, error is not None
        self._problem = None if error is None else str(error)
        if error is None and was_failing:
            # The store is back: nobody waits out the pause that failures brought.
            with self._lock:
                jobs = list(self._uploads.values())
            for job in jobs:
                self._workers.wake(job)
        if error is not None and not self._is_asked:
            self._say(
                "failing",
                f"Compute logs can't be sent to {self._location}; they are kept in {self._local_dir} and sent later. "
                f"{error}",
            )

    def _say(self, kind: str, sentence: str) -> None:
        """On stderr, each kind once: the pipeline goes on."""
        with self._lock:
            if kind in self._said:
                return
            self._said.add(kind)
        with contextlib.suppress(Exception):
            if sys.stderr is not None:
                sys.stderr.write(f"daglens: {' '.join(sentence.split())}\n")
                sys.stderr.flush()
