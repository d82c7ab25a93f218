"""Text out of the bytes of a log: any cut of the bytes gives the same text.

Bytes that are no UTF-8 read as U+FFFD, one for each, so that pieces add up whatever their borders. Pure functions.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

MIN_CHUNK_BYTES = 4
"""The longest character of UTF-8: a chunk of at least this many bytes always gets on."""

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_LONGEST_BEGUN = 3
_PIECE_BYTES = 16_384


class Decoded(NamedTuple):
    """Text of a piece of a log.

    Attributes:
        consumed_bytes: How many bytes of the piece are in `text`; go on behind them.
        invalid_bytes: How many of them are no UTF-8, each read as U+FFFD.
    """

    text: str
    consumed_bytes: int
    invalid_bytes: int


def decode_chunk(data: bytes, at_end: bool) -> Decoded:
    """Read bytes that begin at a character's border.

    A character that the end of `data` may have cut (1 to 3 bytes) is left for the next piece, unless `at_end` says that
    nothing follows: the stream is closed here, or a border that was given out before stands here.
    """
    try:
        return Decoded(*codecs.utf_8_decode(data, "strict", at_end), 0)
    except UnicodeDecodeError:
        pass
    return _decode_pieces(data, at_end)


def _decode_pieces(data: bytes, at_end: bool) -> Decoded:
    """The same by small pieces, most of which may be UTF-8 all through.

    A stray byte costs a hundred times as much as another, and other threads wait while one is looked for in C: 4 MiB of
    nothing else held them up for 230 ms.
    """
    texts, at, invalid = [], 0, 0
    while at < len(data):
        piece = data[at : at + _PIECE_BYTES]
        is_last = at + len(piece) == len(data)
        final = at_end and is_last
        try:
            text, consumed = codecs.utf_8_decode(piece, "strict", final)
        except UnicodeDecodeError:
            text, consumed = codecs.utf_8_decode(piece, "surrogateescape", final)
            text, stray = _ESCAPED_BYTE.subn("\ufffd", text)
            invalid += stray
        texts.append(text)
        at += consumed
        if is_last:
            break
    return Decoded("".join(texts), at, invalid)


def tail_read_start(end: int, max_bytes: int) -> int:
    """Where to begin reading for a tail of `max_bytes` that ends at byte `end`: a few bytes earlier than its earliest
    beginning, which tell whether a line or a character begins there."""
    return max(0, end - max(max_bytes, MIN_CHUNK_BYTES) - _LONGEST_BEGUN)


def tail_start(data: bytes, read_start: int, max_bytes: int) -> int:
    """Where in `data`, the bytes from `tail_read_start` to the end, the tail begins.

    That is the first beginning of a line within the last `max_bytes`; where no line begins there, the first border of a
    character. Text from here on, and text up to here (`decode_chunk` with `at_end`), add up to the whole.
    """
    earliest = max(0, len(data) - max(max_bytes, MIN_CHUNK_BYTES))
    if read_start == 0 and earliest == 0:
        return 0
    newline = data.find(b"\n", max(0, earliest - 1), len(data) - 1)
    if newline >= 0:
        return newline + 1
    return _next_border(data, earliest)


def _next_border(data: bytes, at: int) -> int:
    """`at`, or the end of the character that stands across it."""
    for begin in range(max(0, at - _LONGEST_BEGUN), at):
        lead = data[begin]
        length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        if begin + length > at and _is_character(data[begin : begin + length]):
            return begin + length
    return at


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False
