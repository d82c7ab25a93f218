"""The `Range` header, for files served byte for byte."""

from __future__ import annotations

import re
from typing import NamedTuple

_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII)
_MAX_RANGES = 16


class ByteRange(NamedTuple):
    """Bytes `start` up to, not including, `end`."""

    start: int
    end: int


class NotSatisfiable(Exception):
    """No byte of the file is asked for (416)."""


def requested(header: str | None, size_bytes: int) -> ByteRange | None:
    """The one range to send; None: the whole file, as for a header that isn't understood.

    Of several ranges the first that holds bytes is sent, with the ones that join it: a client of several goes by the
    Content-Range of the answer (RFC 9110, 15.3.7).

    Raises:
        NotSatisfiable: All ranges lie beyond the end.
    """
    if header is None:
        return None
    unit, separator, text = header.partition("=")
    if unit.strip().lower() != "bytes" or not separator:
        return None
    specs = [spec.strip() for spec in text.split(",")]
    if len(specs) > _MAX_RANGES:
        return None
    found: list[ByteRange] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-" or max(len(match[1]), len(match[2])) > 18:
            return None
        if match[1] and match[2] and int(match[2]) < int(match[1]):
            return None
        start, end = _bounds(match[1], match[2], size_bytes)
        if start < end:
            found.append(ByteRange(start, end))
    if not found:
        raise NotSatisfiable
    return _joined(found)


def _bounds(first: str, last: str, size_bytes: int) -> tuple[int, int]:
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    return int(first), min(int(last) + 1, size_bytes) if last else size_bytes


def _joined(ranges: list[ByteRange]) -> ByteRange:
    first = ranges[0]
    start, end = 0, -1
    for other in sorted(ranges):
        if other.start <= end:
            end = max(end, other.end)
        elif end > first.start:
            break
        else:
            start, end = other
    return ByteRange(start, end)
