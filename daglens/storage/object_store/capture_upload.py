"""One captured attempt on its way to the store: while the step runs, and after it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from daglens.storage.errors import LogClosed, StorageUnavailable
from daglens.storage.object_store.bucket import Bucket
from daglens.storage.object_store.chain import Chain, chain_of
from daglens.storage.object_store.keys import STEP_KEY, keeps_step_key, step_folder, stream_folder
from daglens.storage.object_store.spool import Spool
from daglens.storage.object_store.stream_upload import StreamUpload
from daglens.storage.object_store.streams import Stream
from daglens.storage.records import ComputeIO

# No rule on the life time of objects acts sooner.
_DAY_S = 86_400

_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0


class CaptureUpload:
    """Both streams of a spool. `run` is called again and again, by one thread at a time.

    Attributes:
        contacted: Set once the store has answered, or has failed to.
        done: Set when nothing is left to do, here at least.
        refusal: Why the log takes nothing from here; None: it does.
        left: Something of it is not in the store.
    """

    def __init__(
        self,
        spool: Spool,
        bucket: Bucket,
        prefix: str,
        interval_s: float,
        on_outcome: Callable[[Exception | None], None],
    ) -> None:
        """`on_outcome` is called after each round, with what went wrong or None."""
        self.spool = spool
        self.contacted = threading.Event()
        self.done = threading.Event()
        self.refusal: LogClosed | None = None
        self._bucket = bucket
        self._folder = step_folder(prefix, spool.key)
        self._streams = {
            io: StreamUpload(spool, io, Stream(bucket, stream_folder(prefix, spool.key, io))) for io in ComputeIO
        }
        # A base in the spool was written down after the log had been opened.
        self._known = bool(spool.state.base)
        self._interval_s = interval_s
        self._on_outcome = on_outcome
        self._lock = threading.Lock()
        self.left = True
        self._began = False
        self._leaving = False
        self._dropped = False
        self._failures = 0

    def end(self, truncated: bool) -> None:
        """The step has ended; nothing more is written to the files."""
        self.spool.state.closed = True
        self.spool.state.truncated = truncated
        with suppress(OSError):
            self.spool.save()

    def leave(self) -> None:
        """One more round; what it can't send stays in the spool."""
        self._leaving = True

    def drop(self, timeout_s: float) -> None:
        """The run is deleted: nothing more goes to the store. Waits so long for a round that is under way."""
        self._dropped = True
        if self._lock.acquire(timeout=timeout_s):
            self._lock.release()

    def run(self) -> float | None:
        """One round; the seconds until the next, None after the last. Never raises."""
        with self._lock:
            try:
                over = self._round()
            except (StorageUnavailable, OSError) as error:
                self._failures += 1
                self._on_outcome(error)
                over = self._leaving
            except Exception as error:
                # A mistake of ours must not end the thread: the next captures need it.
                self._failures += 1
                self._on_outcome(error)
                over = self._leaving or self._failures > 10
            else:
                self._failures = 0
                self._on_outcome(None)
        self.contacted.set()
        if over:
            self.done.set()
            return None
        if self._failures:
            return min(_LONGEST_RETRY_S, min(_FIRST_RETRY_S, self._interval_s) * 2.0 ** min(self._failures, 20))
        return self._interval_s

    def _round(self) -> bool:
        """True when it was the last."""
        if not self._dropped and not self._began:
            self._begin()
        if self._dropped and self._began:
            # A request that was under way when the run was deleted may have arrived after it.
            for upload in self._streams.values():
                upload.stream.remove()
        if self._dropped or self.refusal is not None:
            return self._removed()
        state = self.spool.state
        try:
            for upload in self._streams.values():
                upload.advance()
        except LogClosed:
            self._cut_short()
            return self._removed()
        if not state.closed:
            return self._leaving
        if self._was_deleted(self._chains()):
            for upload in self._streams.values():
                upload.stream.remove()
        else:
            for upload in self._streams.values():
                upload.finish(state.truncated)
        return self._removed()

    def _begin(self) -> None:
        chains = self._chains()
        state = self.spool.state
        if self._known and (self._was_deleted(chains) or not any(chain.exists for chain in chains.values())):
            # What an earlier process had stored is gone: the run was deleted. Parts that it sent later go, too.
            for upload in self._streams.values():
                upload.stream.remove()
            self._dropped = True
            return
        if not self._known and any(chain.complete for chain in chains.values()):
            self.refusal = LogClosed(f"Step {state.step_key}, attempt {state.attempt}.")
            return
        for io, upload in self._streams.items():
            upload.begin(chains[io])
        if keeps_step_key(state.step_key):
            self._bucket.create(f"{self._folder}/{STEP_KEY}", state.step_key.encode())
        for io, upload in self._streams.items():
            if not chains[io].opened:
                upload.stream.open(_note())
        # Whoever takes over needs to know where the files begin, before the first part is there; and not before the log
        # is: a base without a log is one that was deleted.
        state.base.update({io.value: upload.base for io, upload in self._streams.items()})
        with suppress(OSError):
            self.spool.save()
        self._began = True

    def _cut_short(self) -> None:
        """Somebody else closed the log before all of it was there: then it says so."""
        for upload in self._streams.values():
            upload.finish(truncated=upload.left_bytes > 0)

    def _removed(self) -> bool:
        self.spool.remove()
        self.left = False
        return True

    def _was_deleted(self, chains: Mapping[ComputeIO, Chain]) -> bool:
        """The log was there and is not any more, too soon for a rule on life times."""
        young = time.time() - self.spool.state.began_s < _DAY_S
        return young and not any(chain.opened for chain in chains.values())

    def _chains(self) -> dict[ComputeIO, Chain]:
        """What is in the store of both streams, by one listing."""
        found: dict[str, list[tuple[str, int]]] = {}
        for entry in self._bucket.list(self._folder):
            folder, _, name = entry.name.partition("/")
            found.setdefault(folder, []).append((name, entry.size_bytes))
        return {
            io: chain_of(found.get(upload.stream.folder.rpartition("/")[2], ())) for io, upload in self._streams.items()
        }


def _note() -> bytes:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "began": int(time.time())}).encode()
