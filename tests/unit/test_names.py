"""Names of clients: what is taken, and what they are called on disk."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.storage.errors import InvalidName
from daglens.storage.names import MAX_FILE_NAME_BYTES, check_name, clean_text, file_name, is_cut, text_of
from daglens.testing.names import IMPOSSIBLE_NAMES, ODD_NAMES

SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-%~")

# Names as they may come: any text that isn't refused, and more often text that looks like a path or an escape.
any_name = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255)
tricky_name = st.text(st.sampled_from("./%~2EAa0_- \\:é😀"), min_size=1, max_size=255)
names = st.one_of(any_name, tricky_name, st.sampled_from(ODD_NAMES))


@given(names)
def test_file_name_is_safe(name: str) -> None:
    """One name of a file that every file system takes: no separator, no hidden file, no way up, not too long."""
    on_disk = file_name(name)
    assert set(on_disk) <= SAFE
    assert on_disk
    assert not on_disk.startswith(".")
    assert len(on_disk.encode()) <= MAX_FILE_NAME_BYTES
    assert os.path.normpath(on_disk) == on_disk


@given(names)
def test_file_name_reads_back(name: str) -> None:
    """A name that isn't cut is read back exactly; one that is cut says so."""
    on_disk = file_name(name)
    assert is_cut(on_disk) or text_of(on_disk) == name
    assert is_cut(on_disk) is (len(on_disk) == MAX_FILE_NAME_BYTES and "~" in on_disk)


@given(names, names)
def test_different_names_different_files(one: str, other: str) -> None:
    """Two names never share a file."""
    assert (file_name(one) == file_name(other)) is (one == other)


def test_odd_names_have_files_of_their_own() -> None:
    """Case, composition and escapes tell files apart."""
    assert len({file_name(name) for name in ODD_NAMES}) == len(set(ODD_NAMES))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("extract", "extract"),
        ("a.b-c_D9", "a.b-c_D9"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("a~2", "a%7E2"),
        ("100%", "100%25"),
        ("%2E", "%252E"),
        ("ü", "%C3%BC"),
        ("a:b c", "a%3Ab%20c"),
    ],
)
def test_files_are_called_so(name: str, expected: str) -> None:
    """The escaping is a promise: files on disk outlive versions."""
    assert file_name(name) == expected


def test_long_names_with_one_beginning_stay_apart() -> None:
    """A cut name ends in a digest of the whole; at exactly the limit nothing is cut."""
    assert file_name("x" * MAX_FILE_NAME_BYTES) == "x" * MAX_FILE_NAME_BYTES
    cut = {file_name("x" * n) for n in range(MAX_FILE_NAME_BYTES + 1, 256)}
    assert len(cut) == 255 - MAX_FILE_NAME_BYTES
    assert all(is_cut(name) and len(name) == MAX_FILE_NAME_BYTES for name in cut)


@given(names)
def test_possible_names_pass(name: str) -> None:
    """What may be a name comes back as it is."""
    assert check_name(name, "run id") is name


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=ascii)
def test_impossible_names_are_refused(name: str) -> None:
    """The error says which name it speaks of."""
    with pytest.raises(InvalidName, match="The step key "):
        check_name(name, "step key")


@given(st.text())
def test_clean_text_is_storable(text: str) -> None:
    """NUL and lone surrogates read as U+FFFD, one for one; all else stays."""
    clean = clean_text(text)
    clean.encode()
    assert "\0" not in clean
    assert len(clean) == len(text)
    assert all(
        c == o or (c == "\ufffd" and (o == "\0" or "\ud800" <= o <= "\udfff")) for c, o in zip(clean, text, strict=True)
    )
