"""The end of the texts that have a prefix."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daglens.storage.sql.prefixes import after_prefix

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(prefix=texts, text=texts)
def test_range_holds_exactly_the_texts_with_the_prefix(prefix: str, text: str) -> None:
    """By code points, which is also the order of their UTF-8."""
    end = after_prefix(prefix)
    within = prefix <= text and (end is None or text < end)
    assert within is text.startswith(prefix)
    assert within is (prefix.encode() <= text.encode() and (end is None or text.encode() < end.encode()))


def test_ends() -> None:
    """Past the surrogates, and past the last code point to the character before it."""
    assert after_prefix("ab") == "ac"
    assert after_prefix("a\ud7ff") == "a\ue000"
    assert after_prefix("a\U0010ffff") == "b"
    assert after_prefix("\U0010ffff") is None
    assert after_prefix("") is None
