"""From one file of a spool to the store, part by part."""

from __future__ import annotations

from contextlib import suppress

from daglens.storage.errors import LogClosed, StorageUnavailable
from daglens.storage.object_store.chain import MERGE_COUNT, PART_BYTES, Chain, Part
from daglens.storage.object_store.keys import part_name
from daglens.storage.object_store.spool import Spool
from daglens.storage.object_store.streams import Stream
from daglens.storage.records import ComputeIO

_FOREIGN_WRITERS = 50
"""How often in a row somebody else may be first before it is no coincidence."""


class StreamUpload:
    """One stream on its way. Not for two threads at once; every method may raise StorageUnavailable or OSError, and
    the same call then goes on.

    Attributes:
        base: Offset in the log at which the file's first byte belongs.
    """

    def __init__(self, spool: Spool, io: ComputeIO, stream: Stream) -> None:
        """Call `begin` before anything else."""
        self.stream = stream
        self.base = 0
        self._spool = spool
        self._io = io
        self._at = 0
        self._sent = 0
        self._pending = 0
        self._took_over = False
        self._cut = False
        # Parts of ours that are not merged yet, and where their bytes stand in the file.
        self._own: list[tuple[Part, int]] = []

    def begin(self, chain: Chain) -> None:
        """Go on where the log ends; `chain` is what is in the store now."""
        self._took_over = self._io.value in self._spool.state.base
        self.base = self._spool.state.base.get(self._io.value, chain.end)
        self._at = chain.end
        self._sent = min(max(0, chain.end - self.base), self._spool.size(self._io))

    @property
    def left_bytes(self) -> int:
        """How much of the file is not stored yet."""
        return self._spool.size(self._io) - self._sent

    def advance(self) -> None:
        """Store what is new, as parts.

        Raises:
            LogClosed: Somebody else closed the log.
        """
        foreign = 0
        while (left := self.left_bytes) > 0:
            # After a failure the same bytes again, not those that came since: the first try may have arrived.
            data = self._spool.read(self._io, self._sent, self._pending or min(left, PART_BYTES))
            if not data:
                return  # the step made its file shorter meanwhile
            self._pending = len(data)
            if self.stream.put(self._at, data):
                self._stored(len(data))
                foreign = 0
                continue
            there = self.stream.part(self._at)
            if there is not None and (there == data or self._is_late(there)):
                self._stored(len(there))
                foreign = 0
                continue
            self._pending = 0
            chain = self.stream.chain()
            foreign += 1
            if chain.complete:
                raise LogClosed
            if foreign == _FOREIGN_WRITERS:
                raise StorageUnavailable("Others write to the same log all the time.")
            self._at = chain.end

    def finish(self, truncated: bool) -> None:
        """Close the log behind what was stored, and make few parts of many."""
        chain = self.stream.close(truncated=truncated, appends=self._put_lost)
        if self._cut and not chain.truncated:
            chain = self.stream.close(truncated=True)
        # What is not merged is read all the same.
        with suppress(StorageUnavailable, OSError):
            self.stream.merge(chain.parts, at_end=True, read=self._read)

    def _is_late(self, there: bytes) -> bool:
        """Whether a part was still on its way when the process was killed whose spool this one took over.

        It had taken less or more of the file than this one does.
        """
        return self._took_over and bool(there) and self._spool.read(self._io, self._sent, len(there)) == there

    def _stored(self, size_bytes: int) -> None:
        # What was on its way was meant for the first place that was free: now taken, by it or by this process.
        self._took_over = False
        part = Part(self._at, size_bytes, part_name(self._at), False)
        self._own.append((part, self._sent))
        self._at = part.end
        self._sent += size_bytes
        self._pending = 0
        if len(self._own) >= MERGE_COUNT and not self._put_lost(self.stream.chain()):
            merged_to = part.end
            with suppress(StorageUnavailable, OSError):
                merged_to = self.stream.merge([own for own, _ in self._own], at_end=False, read=self._read)
            self._own = [own for own in self._own[1:] if own[0].offset >= merged_to]

    def _put_lost(self, chain: Chain) -> bool:
        """Store once more those of our parts that are not of the log, if it is still open; whether there were any.

        Where another process writes the same log and parts were merged, the name that we took for the next part was
        free again: ours then lies inside of a merged one, and nobody reads it.
        """
        lost = [own for own in self._own if not self._is_there(chain, *own)]
        for own in lost:
            part, at = own
            data = self._spool.read(self._io, at, part.size_bytes)
            while not self.stream.put(chain.end, data):
                chain = self.stream.chain()
                if chain.complete:
                    self._cut = True
                    return True
            self._own.remove(own)
            self._own.append((Part(chain.end, part.size_bytes, part_name(chain.end), False), at))
            chain = chain.grown(part.size_bytes)
            self._at = chain.end
        return bool(lost)

    def _is_there(self, chain: Chain, part: Part, at: int) -> bool:
        held = next(iter(chain.overlapping(part.offset, part.end)), None)
        if held is None or not held.merged:
            # A hole is what somebody removed.
            return held is None or held.offset == part.offset
        there = self.stream.bytes_of(held, part.offset, part.end)
        return there is None or there == self._spool.read(self._io, at, part.size_bytes)

    def _read(self, part: Part) -> bytes:
        """From the file where it is known to be there, else from the store."""
        for own, at in self._own:
            if own.offset == part.offset and own.size_bytes == part.size_bytes:
                return self._spool.read(self._io, at, part.size_bytes)
        return self.stream.read_part(part)
