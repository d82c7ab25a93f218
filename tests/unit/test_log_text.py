"""Logs as text: whatever the borders of the pieces, they add up."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daglens.resolvers import log_text
from daglens.resolvers.log_text import (
    MIN_CHUNK_BYTES,
    Decoded,
    decode_chunk,
    tail_read_start,
    tail_start,
)

# Pieces that meet at every kind of border: characters of 1 to 4 bytes, their beginnings and ends alone, bytes that
# never occur, overlong forms, surrogates in UTF-8, a real U+FFFD.
PIECES = [
    b"a",
    b"\n",
    b"\r\n",
    "é".encode(),
    "€".encode(),
    "\ufffd".encode(),
    "😀".encode(),
    "\U0010ffff".encode(),
    b"\xc3",
    b"\xe2",
    b"\xe2\x82",
    b"\xf0",
    b"\xf0\x9f",
    b"\xf0\x9f\x98",
    b"\x80",
    b"\xbf",
    b"\xff",
    b"\xfe",
    b"\xc0\x80",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\0",
]
logs = st.one_of(st.lists(st.sampled_from(PIECES), max_size=24).map(b"".join), st.binary(max_size=40))


def read_whole(log: bytes, chunk_bytes: int) -> tuple[str, int, list[int]]:
    """Walk a closed log; its text, invalid bytes, and the borders given out."""
    at, texts, invalid, borders = 0, [], 0, [0]
    while at < len(log):
        data = log[at : at + chunk_bytes]
        found = decode_chunk(data, at + len(data) == len(log))
        assert found.consumed_bytes > 0, "a chunk of 4 bytes always gets on"
        at += found.consumed_bytes
        texts.append(found.text)
        invalid += found.invalid_bytes
        borders.append(at)
    return "".join(texts), invalid, borders


def plain(log: bytes) -> tuple[str, int]:
    """The whole text by another way: byte for byte where a character can't be read."""
    text, invalid, at = [], 0, 0
    while at < len(log):
        for length in (1, 2, 3, 4):
            try:
                text.append(log[at : at + length].decode())
            except UnicodeDecodeError:
                continue
            if at + length <= len(log):
                at += length
                break
        else:
            text.append("\ufffd")
            invalid += 1
            at += 1
    return "".join(text), invalid


@given(logs, st.integers(min_value=MIN_CHUNK_BYTES, max_value=50))
@example(b"\xe2\x82A", 4)
@example("aaa€".encode(), 4)
def test_chunks_of_any_size_add_up_to_the_whole(log: bytes, chunk_bytes: int):
    """Concatenated chunks are the text of the whole log, and their counts of invalid bytes add up."""
    text, invalid, _ = read_whole(log, chunk_bytes)
    assert (text, invalid) == plain(log)


@given(logs, st.integers(min_value=MIN_CHUNK_BYTES, max_value=9), st.booleans())
@example(b"a" * 8 + "€".encode() + b"\xff", 9, True)
def test_small_pieces_of_a_chunk_add_up_to_it(log: bytes, piece_bytes: int, at_end: bool):
    """A chunk with stray bytes is read by pieces, whatever their size; what the end may have cut is left."""
    whole = decode_chunk(log, at_end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_text, "_PIECE_BYTES", piece_bytes)
        assert decode_chunk(log, at_end) == whole
    assert plain(log)[0].startswith(whole.text)
    assert len(log) - whole.consumed_bytes <= (0 if at_end else 3)


@given(logs)
def test_every_border_of_a_log_that_grows(log: bytes):
    """Read at each size it has while it is written: what was read never changes, and nothing is missing at the end."""
    read, at, invalid = "", 0, 0
    for size in range(len(log) + 1):
        closed = size == len(log)
        found = decode_chunk(log[at:size], closed)
        assert size - at - found.consumed_bytes <= 3
        read, at, invalid = read + found.text, at + found.consumed_bytes, invalid + found.invalid_bytes
    assert (read, invalid) == plain(log)


@given(st.text(max_size=40), st.data())
def test_valid_text_is_never_cut_inside_a_character(text: str, data: st.DataObject):
    """Any piece of valid UTF-8 from a border on reads without an invalid byte."""
    log = text.encode("utf-8", "replace")
    cut = data.draw(st.integers(min_value=0, max_value=len(log)))
    found = decode_chunk(log[:cut], at_end=False)
    assert found.invalid_bytes == 0
    assert text.encode("utf-8", "replace").decode().startswith(found.text)


def tails(log: bytes, max_bytes: int) -> list[tuple[int, int]]:
    """Scroll a closed log up from its end; the ranges shown, last first."""
    end, ranges = len(log), []
    while end > 0:
        read_start = tail_read_start(end, max_bytes)
        start = read_start + tail_start(log[read_start:end], read_start, max_bytes)
        assert start < end, "a tail of 4 bytes always gets on"
        ranges.append((start, end))
        end = start
    return ranges


@given(logs, st.integers(min_value=MIN_CHUNK_BYTES, max_value=50))
@example(b"\xf0\x9f\x98\x80" * 3, 5)
@example(b"\n\n\n\n\n\n\n\n", 4)
def test_scrolling_up_adds_up_to_the_whole(log: bytes, max_bytes: int):
    """Tails walked up from the end, each within its bytes, are the text of the whole log."""
    ranges = tails(log, max_bytes)
    found = [decode_chunk(log[start:end], True) for start, end in ranges]
    assert all(end - start <= max_bytes for start, end in ranges)
    assert "".join(one.text for one in reversed(found)) == plain(log)[0]
    assert sum(one.invalid_bytes for one in found) == plain(log)[1]


@given(st.lists(st.text("abé€😀", max_size=6), max_size=12), st.integers(min_value=MIN_CHUNK_BYTES, max_value=60))
def test_a_tail_begins_with_a_line_where_one_begins(lines: list[str], max_bytes: int):
    """A tail starts at the earliest beginning of a line within its bytes, if there is any."""
    log = "".join(line + "\n" for line in lines).encode()
    beginnings = [0] + [at + 1 for at, byte in enumerate(log[:-1]) if byte == 10]
    for start, end in tails(log, max_bytes):
        within = [at for at in beginnings if end - max_bytes <= at < end]
        if within:
            assert start == min(within)


@pytest.mark.parametrize(
    ("log", "max_bytes", "expected"),
    [
        (b"", 10, b""),
        (b"one\ntwo\nthree\n", 100, b"one\ntwo\nthree\n"),
        (b"one\ntwo\nthree\n", 14, b"one\ntwo\nthree\n"),
        (b"one\ntwo\nthree\n", 13, b"two\nthree\n"),
        (b"one\ntwo\nthree\n", 10, b"two\nthree\n"),
        (b"one\ntwo\nthree\n", 9, b"three\n"),
        (b"one\ntwo\nthree", 5, b"three"),
        (b"one\ntwo\nthree", 4, b"hree"),
        ("x€€€".encode(), 7, "€€".encode()),
        (b"one\n", 0, b"one\n"),
    ],
)
def test_tails(log: bytes, max_bytes: int, expected: bytes):
    """Examples: whole lines where they fit, else from a character on."""
    read_start = tail_read_start(len(log), max_bytes)
    data = log[read_start:]
    assert data[tail_start(data, read_start, max_bytes) :] == expected


def test_stray_bytes_are_counted_and_a_real_replacement_character_is_not():
    """U+FFFD in the log itself is a character like any other."""
    assert decode_chunk("a\ufffd".encode() + b"\xff\xe2\x82b", True) == Decoded("a\ufffd\ufffd\ufffd\ufffdb", 8, 3)


@pytest.fixture(scope="module")
def large() -> tuple[bytes, str, int]:
    """A log of 10 MB, its text and its invalid bytes: one mixed block, repeated, and a `|` that ends each."""
    rng = random.Random(7)
    block = b"".join(rng.choice(PIECES) for _ in range(100_000)) + b"|"
    repeats = 10 * 1024 * 1024 // len(block) + 1
    text, invalid = plain(block)
    return block * repeats, text * repeats, invalid * repeats


@pytest.mark.parametrize("chunk_bytes", [4099, 65_537, 4 * 1024 * 1024, 20 * 1024 * 1024])
def test_10_mb_with_multi_byte_characters_and_stray_bytes(large: tuple[bytes, str, int], chunk_bytes: int):
    """10 MB of mixed text and stray bytes read whole at chunk sizes that fall on every kind of border."""
    log, text, invalid = large
    found_text, found_invalid, _ = read_whole(log, chunk_bytes)
    assert found_invalid == invalid
    assert found_text == text


def test_small_chunks_over_a_megabyte():
    """The same in chunks of 4, 5, 7 and 64 bytes."""
    rng = random.Random(11)
    block = b"".join(rng.choice(PIECES) for _ in range(20_000))
    expected = plain(block)
    for chunk_bytes in (4, 5, 7, 64):
        assert read_whole(block, chunk_bytes)[:2] == expected
