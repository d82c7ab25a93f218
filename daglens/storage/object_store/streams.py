"""One stream in the store: append, close, merge, read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from daglens.storage.errors import LogClosed, LogGap, LogUnavailable, StorageUnavailable
from daglens.storage.object_store.bucket import Bucket
from daglens.storage.object_store.chain import PART_BYTES, Chain, Hole, Part, chain_of, to_merge
from daglens.storage.object_store.failures import Missing
from daglens.storage.object_store.keys import OPENED, TRUNCATED, part_name
from daglens.storage.records import LogBytes, LogUnavailableReason

_TURNS = 50
"""How often somebody else may be first, or a merge come in between, before it is no coincidence."""

ReadMany = Callable[[Sequence[Callable[[], bytes]]], Sequence[bytes]]


class Stream:
    """The objects below one folder. Raises StorageUnavailable where the store does."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        """Asks nothing."""
        self.bucket = bucket
        self.folder = folder

    def chain(self) -> Chain:
        """What is there; one listing."""
        return chain_of(self.bucket.list(self.folder))

    def open(self, note: bytes) -> None:
        """Let the log exist. `note` is for whoever looks into the bucket."""
        self.bucket.create(self._name(OPENED), note)

    def put(self, offset: int, data: bytes) -> bool:
        """Store a part where the log ends; False: there is one already."""
        return self.bucket.create(self._name(part_name(offset)), data)

    def part(self, offset: int) -> bytes | None:
        """What the part at an offset holds; None: there is none, or not any more."""
        try:
            return self.bucket.read_all(self._name(part_name(offset)))
        except Missing:
            return None

    def append(self, offset: int, data: bytes) -> Chain:
        """Append what is beyond the end; the log afterwards.

        Raises:
            LogGap, LogClosed: As ComputeLogManager.append.
        """
        chain = self.chain()
        lost = 0
        while True:
            if offset > chain.end:
                raise LogGap(chain.end)
            new = data[chain.end - offset :][:PART_BYTES]
            if not new:
                return chain
            if chain.complete:
                raise LogClosed(f"It has {chain.end} bytes.")
            if self.put(chain.end, new):
                chain = chain.grown(len(new))
                continue
            lost += 1
            if lost == _TURNS:
                raise StorageUnavailable(f"{self.bucket.location}: others append to this log all the time.")
            chain = self.chain()

    def close(self, *, truncated: bool = False, appends: Callable[[Chain], bool] = lambda chain: False) -> Chain:
        """Close the log where it ends; the log afterwards.

        `appends` is shown the log before that, and may append to it; True: it did.
        """
        for _ in range(_TURNS):
            chain = self.chain()
            if not chain.complete and appends(chain):
                continue
            if truncated and not chain.truncated:
                self.bucket.create(self._name(TRUNCATED), b"")
            elif chain.complete:
                # Seen, not taken for granted: where a merge came in between, the end was put into its middle.
                return chain
            if not chain.complete:
                self.bucket.create(self._name(part_name(chain.end)), b"")
        raise StorageUnavailable(f"{self.bucket.location}: others append to this log all the time.")

    def merge(self, parts: Sequence[Part], *, at_end: bool, read: Callable[[Part], bytes] | None = None) -> int:
        """Make few large parts of many small ones; the offset up to which that is done, 0 when nothing was to do.

        `read` gives a part's bytes where they are at hand. Every byte is written at most once more than it came.
        """
        done = 0
        for group in to_merge(parts, at_end=at_end):
            done = group[-1].end
            try:
                data = b"".join([(read or self.read_part)(part) for part in group])
            except Missing:
                continue  # somebody else merges them
            if len(data) == done - group[0].offset:
                self.bucket.replace(self._name(part_name(group[0].offset, merged=True)), data)
                self.bucket.delete([self._name(part.name) for part in group])
        return done

    def merge_if_due(self, chain: Chain) -> None:
        """The same, where it does no harm when it fails: the next one tries again, and what is small can be read."""
        with suppress(StorageUnavailable):
            self.merge(chain.parts, at_end=chain.complete)

    def read_part(self, part: Part) -> bytes:
        """All bytes of a part.

        Raises:
            Missing: It is not there any more.
        """
        return self.bucket.read_all(self._name(part.name))

    def bytes_of(self, part: Part, start: int, end: int) -> bytes | None:
        """Bytes of the log that a part has, by their offsets in the log; None: the part is not there any more."""
        try:
            return self._reader(part, start, end)()
        except Missing:
            return None

    def read(self, start: int, max_bytes: int, read_many: ReadMany) -> LogBytes | None:
        """At most `max_bytes` from byte `start`, fewer only at the end and before a hole; None: there is no log.

        One listing, and one request for each part that the bytes are in; `read_many` makes these.

        Raises:
            LogUnavailable: EXPIRED, where the bytes at `start` are gone.
        """
        seen: Hole | None = None
        for _ in range(_TURNS):
            chain = self.chain()
            if not chain.exists:
                return None
            hole = Hole(0, chain.end) if chain.gone else chain.hole_at(start)
            if hole is not None and hole != seen and not chain.gone:
                # A listing of many objects takes several requests, and a merge in between shows in none of them.
                seen = hole
                continue
            if hole is not None and (chain.gone or max_bytes > 0):
                raise LogUnavailable(
                    LogUnavailableReason.EXPIRED,
                    f"Bytes {hole.start} to {hole.end} of {chain.end} were removed from {self.bucket.location}, as a "
                    "rule on the life time of its objects does.",
                )
            end = min(chain.end, start + max_bytes)
            try:
                pieces = read_many([self._reader(part, start, end) for part in chain.overlapping(start, end)])
            except Missing:
                continue  # merged meanwhile
            return LogBytes(b"".join(pieces), chain.end, chain.complete, chain.truncated)
        raise StorageUnavailable(f"{self.bucket.location}: parts of the log vanish while it is read.")

    def whole_in_one(self, chain: Chain) -> str | None:
        """The name of the object that is the whole, complete log; None: there is none."""
        if not chain.complete or len(chain.parts) != 1 or chain.holes:
            return None
        return self._name(chain.parts[0].name)

    def remove(self) -> None:
        """Remove everything of it."""
        self.bucket.delete([self._name(entry.name) for entry in self.bucket.list(self.folder)])

    def _reader(self, part: Part, start: int, end: int) -> Callable[[], bytes]:
        first, last = max(start, part.offset) - part.offset, min(end, part.end) - part.offset
        return lambda: self.bucket.read(self._name(part.name), first, last)

    def _name(self, name: str) -> str:
        return f"{self.folder}/{name}"
