"""Compute logs in S3, Google Cloud Storage or Azure Blob Storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from daglens.storage.contract import ComputeLogManager, LogCapture
from daglens.storage.errors import InvalidName, LogUnavailable, StorageUnavailable
from daglens.storage.log_places import LogPlace, LogPlaceKind, hostname
from daglens.storage.object_store import keys
from daglens.storage.object_store.bucket import Bucket
from daglens.storage.object_store.capture_upload import CaptureUpload
from daglens.storage.object_store.config import DEFAULT_LOCAL_DIR, ObjectStoreConfig
from daglens.storage.object_store.connecting import connect
from daglens.storage.object_store.failures import Missing, StoreForbids
from daglens.storage.object_store.listing import listed, step_names
from daglens.storage.object_store.spool import folders, read_state
from daglens.storage.object_store.streams import Stream
from daglens.storage.object_store.uploads import Uploads
from daglens.storage.records import ComputeIO, Health, LeftoversState, LogBytes, LogFile, LogKey, LogUnavailableReason

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

LINK_LIFETIME_S = 3600
"""How long a presigned address is valid."""

MOST_POLL_S = 2.0

_REQUESTS_AT_ONCE = 16


# `list` is a method's name, too.
_Files = list[LogFile]


class ObjectStoreComputeLogManager(ComputeLogManager):
    """Logs as parts in a bucket (keys.py, chain.py), uploaded while the step runs; the bucket is what is read.

    `append` costs two requests, `read` one listing and a request for each part that the bytes are in, `list` one
    listing for each run. What a step writes is in `local_dir` until it is in the bucket: a machine that is lost takes
    at most the last interval with it, and of a process that is killed the next one on that machine sends the rest.
    """

    Config: ClassVar[type[Any]] = ObjectStoreConfig

    def __init__(
        self,
        store: ObjectStore,
        *,
        location: str,
        local_dir: str | os.PathLike[str],
        prefix: str = "daglens",
        upload_interval_s: float = 5,
        close_timeout_s: float = 10,
        presigned_links: bool = False,
        health_store: ObjectStore | None = None,
    ) -> None:
        """`store` is one of obstore's; `location` names it in messages, without secrets. The rest: ObjectStoreConfig.

        `health_store` is the same with short timeouts.
        """
        self.bucket = Bucket(store, location)
        self._health_bucket = Bucket(health_store or store, location)
        self._prefix = prefix
        self._location = f"{location}/{prefix}"
        self._upload_interval_s = upload_interval_s
        self._local_dir = Path(local_dir)
        self._presigned_links = presigned_links
        self._new_uploads = partial(
            Uploads,
            self.bucket,
            prefix,
            self._local_dir,
            interval_s=upload_interval_s,
            close_timeout_s=close_timeout_s,
        )
        # By process: a forked child has none of its parent's threads.
        self._uploads: dict[int, Uploads] = {}
        self._pools: dict[int, ThreadPoolExecutor] = {}

    @classmethod
    def from_config(cls, config: ObjectStoreConfig, home: Path) -> Self:
        """As configured. Nothing is asked of the store yet.

        Raises:
            StorageUnavailable: obstore is not installed, or the store can't be made of this configuration.
        """
        return cls(
            connect(config),
            location=config.location,
            local_dir=home / os.path.expanduser(config.local_dir or DEFAULT_LOCAL_DIR),
            prefix=config.folder,
            upload_interval_s=config.upload_interval_s,
            close_timeout_s=config.close_timeout_s,
            presigned_links=config.presigned_links,
            health_store=connect(config, quick=True),
        )

    @property
    def pool_size(self) -> int:
        """How many calls may run at once to good effect."""
        return _REQUESTS_AT_ONCE

    @property
    def place(self) -> LogPlace:
        """The bucket, and the prefix in it."""
        return LogPlace(LogPlaceKind.OBJECT_STORE, self._location)

    @property
    def least_poll_s(self) -> float:
        """Half the interval of uploads, at most 2 s: each look is a listing, which is paid for."""
        return min(MOST_POLL_S, self._upload_interval_s / 2)

    def capture(self, key: LogKey) -> LogCapture:
        """See ComputeLogManager. Where the store doesn't answer within 5 s the log comes into being later.

        Raises:
            LogClosed: This attempt was captured before and is complete.
        """
        keys.step_folder(self._prefix, key)
        uploads = self._uploading()
        return _Capture(uploads, uploads.begin(key))

    def append(self, key: LogKey, io: ComputeIO, offset: int, data: bytes, *, complete: bool = False) -> int:
        """See ComputeLogManager."""
        if offset < 0:
            raise ValueError(f"An offset is 0 or more, not {offset}.")
        stream = self._stream(key, io)
        if offset == 0:
            self._keep_step_key(key)
        chain = stream.append(offset, data)
        if not chain.exists and not complete:
            stream.open(b"")
        if complete:
            chain = stream.close()
        stream.merge_if_due(chain)
        return chain.end

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        """See ComputeLogManager. Besides NOT_CAPTURED: NOT_UPLOADED_YET, EXPIRED and FORBIDDEN."""
        if start < 0:
            raise ValueError(f"A log begins at byte 0, not {start}.")
        try:
            found = self._stream(key, io).read(start, max_bytes, self._at_once)
        except InvalidName as error:
            raise LogUnavailable(LogUnavailableReason.NOT_CAPTURED, str(error)) from error
        except StoreForbids as error:
            raise LogUnavailable(LogUnavailableReason.FORBIDDEN, str(error)) from error
        if found is None:
            raise self._why_not(key)
        return found

    def list(self, run_ids: Sequence[str]) -> Mapping[str, Sequence[LogFile]]:
        """See ComputeLogManager.

        Raises:
            StoreForbids: Which is a StorageUnavailable, and a LogUnavailable whose reason is FORBIDDEN.
        """
        return dict(zip(run_ids, self._at_once([partial(self._of_run, run_id) for run_id in run_ids]), strict=True))

    def mark_complete(self, key: LogKey, io: ComputeIO, *, truncated: bool = False) -> None:
        """See ComputeLogManager. A stream that isn't there becomes an empty one."""
        stream = self._stream(key, io)
        self._keep_step_key(key)
        stream.merge_if_due(stream.close(truncated=truncated))

    def delete(self, run_id: str) -> int:
        """See ComputeLogManager. Takes the run's spools of this machine, too, unless another process holds them."""
        try:
            folder = keys.run_folder(self._prefix, run_id)
        except InvalidName:
            return 0
        self._uploading().drop(run_id)
        size_bytes = 0
        while entries := self.bucket.list(folder):
            size_bytes += sum(entry.size_bytes for entry in entries)
            self.bucket.delete([f"{folder}/{entry.name}" for entry in entries])
        return size_bytes

    def link(self, key: LogKey, io: ComputeIO) -> str | None:
        """A presigned address, valid for an hour, of a complete log that is one object; only when it is configured."""
        if not self._presigned_links:
            return None
        try:
            stream = self._stream(key, io)
            name = stream.whole_in_one(stream.chain())
        except (InvalidName, StorageUnavailable):
            return None
        return None if name is None else self.bucket.signed(name, LINK_LIFETIME_S)

    def finish_leftovers(self, timeout_s: float) -> LeftoversState:
        """See Leftovers: sends what killed processes of this machine left in `local_dir`. `capture` begins with it,
        too, without waiting."""
        return self._uploading().finish_leftovers(timeout_s)

    def health(self) -> Health:
        """Whether the bucket can be listed."""
        try:
            self._health_bucket.list(f"{self._prefix}/.health")
        except StorageUnavailable as error:
            return Health(False, str(error))
        return Health(True)

    def close(self) -> None:
        """Send the rest, for at most `close_timeout_s` seconds, and say on stderr when something is left."""
        uploads = self._uploads.get(os.getpid())
        if uploads is not None:
            uploads.close()
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _uploading(self) -> Uploads:
        return self._uploads.get(os.getpid()) or self._uploads.setdefault(os.getpid(), self._new_uploads())

    def _stream(self, key: LogKey, io: ComputeIO) -> Stream:
        return Stream(self.bucket, keys.stream_folder(self._prefix, key, io))

    def _keep_step_key(self, key: LogKey) -> None:
        if keys.keeps_step_key(key.step_key):
            self.bucket.create(f"{keys.step_folder(self._prefix, key)}/{keys.STEP_KEY}", key.step_key.encode())

    def _of_run(self, run_id: str) -> _Files:
        try:
            folder = keys.run_folder(self._prefix, run_id)
        except InvalidName:
            return []
        entries = self.bucket.list(folder)
        names = step_names(entries, lambda name: self._read_text(f"{folder}/{name}"))
        return listed(run_id, entries, names, f"{self.bucket.location}/{folder}")

    def _read_text(self, name: str) -> str | None:
        try:
            return self.bucket.read_all(name).decode(errors="replace")
        except Missing:
            return None

    def _why_not(self, key: LogKey) -> LogUnavailable:
        """Why there is nothing of a log in the bucket."""
        for folder in folders(self._local_dir, key.run_id):
            state = read_state(folder)
            if state is not None and (state.step_key, state.attempt) == (key.step_key, key.attempt):
                return LogUnavailable(
                    LogUnavailableReason.NOT_UPLOADED_YET, f"It waits on {hostname()} to be sent: {folder}."
                )
        return LogUnavailable(LogUnavailableReason.NOT_CAPTURED)

    def _at_once(self, calls: Sequence[Callable[[], T]]) -> Sequence[T]:
        """The results in order. Several calls are made at once: what they wait for is the network."""
        if len(calls) < 2:
            return [call() for call in calls]
        pool = self._pools.get(os.getpid())
        if pool is None:
            pool = self._pools.setdefault(os.getpid(), ThreadPoolExecutor(_REQUESTS_AT_ONCE, "daglens-object-store"))
        return [*pool.map(lambda call: call(), calls)]


class _Capture:
    def __init__(self, uploads: Uploads, upload: CaptureUpload) -> None:
        self.stdout_path = upload.spool.path(ComputeIO.STDOUT)
        self.stderr_path = upload.spool.path(ComputeIO.STDERR)
        self._uploads = uploads
        self._upload = upload
        self._pid = os.getpid()
        self._closed = False

    def close(self, *, truncated: bool = False) -> None:
        """See LogCapture. In a child that was forked off meanwhile: nothing."""
        if self._pid != os.getpid() or self._closed:
            return
        self._closed = True
        self._uploads.end(self._upload, truncated)
