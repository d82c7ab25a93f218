"""A log as a chain of parts, read out of a listing alone. Pure.

Each part is named by the offset of its first byte, and is only ever created where the log ends: so of two writers who
append at once one creates it and the other learns that it is there. An empty part is the end: it stands where the next
part would, so that closing a log and appending to it exclude each other in the same way.

Small parts are merged, each once, into an object beside the first of them that is named by the same offset; then they
are deleted. A reader takes the merged object of an offset and goes on behind it, whatever still lies in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from daglens.storage.object_store.keys import OPENED, TRUNCATED, parse_part, part_name

PART_BYTES = 8 * 1024 * 1024
"""Most that one part holds, and so what a process keeps in memory of a log."""

LARGE_BYTES = 1024 * 1024
"""A part of this size stays as it is."""

MERGE_COUNT = 64
"""So many small parts are merged while a log grows."""

MERGE_COUNT_AT_END = 4
"""And so many when it has ended."""


class Part(NamedTuple):
    """An object with bytes of the log."""

    offset: int
    size_bytes: int
    name: str
    merged: bool

    @property
    def end(self) -> int:
        """Offset of the byte behind it."""
        return self.offset + self.size_bytes


class Hole(NamedTuple):
    """Bytes of the log that are gone: from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chain:
    """What a listing tells of one stream.

    Attributes:
        parts: Those that make the log, in order; beyond a hole they go on.
        end: Size of the log, holes included.
        exists: Somebody opened, wrote or closed it.
        opened: The object that says so is there.
    """

    parts: tuple[Part, ...] = ()
    holes: tuple[Hole, ...] = ()
    end: int = 0
    exists: bool = False
    opened: bool = False
    complete: bool = False
    truncated: bool = False

    @property
    def gone(self) -> bool:
        """There were bytes, and none is left."""
        return self.end > 0 and not self.parts

    def grown(self, size_bytes: int) -> Chain:
        """With one more part at its end."""
        part = Part(self.end, size_bytes, part_name(self.end), False)
        return replace(self, parts=(*self.parts, part), end=part.end, exists=True)

    def hole_at(self, offset: int) -> Hole | None:
        """The hole that a byte is in."""
        return next((hole for hole in self.holes if hole.start <= offset < hole.end), None)

    def overlapping(self, start: int, end: int) -> list[Part]:
        """Parts that have bytes from `start` up to `end`, or to the first hole behind `start`."""
        stop = min([hole.start for hole in self.holes if hole.start >= start] + [end])
        return [part for part in self.parts if start < stop and part.offset < stop and part.end > start]


def chain_of(objects: Iterable[tuple[str, int]]) -> Chain:
    """The log made of these objects of a stream's folder, given as name and size."""
    opened = truncated = complete = False
    found: list[Part] = []
    for name, size_bytes in objects:
        part = parse_part(name)
        if part is not None:
            found.append(Part(part.offset, size_bytes, name, part.merged))
        opened |= name == OPENED
        truncated |= name == TRUNCATED
    parts: list[Part] = []
    holes: list[Hole] = []
    end = 0
    for offset, same in groupby(sorted(found), key=lambda part: part.offset):
        if offset < end:
            continue  # part of what was merged, not deleted yet
        if offset > end:
            holes.append(Hole(end, offset))
        # The merged one has the bytes of the first that was there; a later one is a mistake of somebody who was late.
        part_here = max(same, key=lambda part: (part.merged, part.size_bytes))
        end = part_here.end
        if part_here.size_bytes == 0:
            complete = True
            break
        parts.append(part_here)
    exists = opened or truncated or complete or bool(parts)
    return Chain(tuple(parts), tuple(holes), end, exists, opened, complete, truncated)


def to_merge(parts: Sequence[Part], *, at_end: bool) -> list[list[Part]]:
    """Groups of neighbouring parts to make one of, each at most 8 MiB; `at_end`: no more parts come.

    Whoever looks, and however many parts have come since: a group that is full is the same group.
    """
    groups: list[list[Part]] = []
    group: list[Part] = []

    def close(least: int) -> None:
        if len(group) >= least:
            groups.append(list(group))
        group.clear()

    for part in parts:
        stays = part.merged or part.size_bytes >= LARGE_BYTES
        if stays or (group and group[-1].end != part.offset):
            close(MERGE_COUNT_AT_END)
        if stays:
            continue
        if sum(other.size_bytes for other in group) + part.size_bytes > PART_BYTES:
            close(2)
        group.append(part)
        if len(group) == MERGE_COUNT:
            close(2)
    if at_end:
        close(MERGE_COUNT_AT_END)
    return groups
