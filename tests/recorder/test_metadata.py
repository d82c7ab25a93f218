"""Values of metadata, and how they are shown."""

from __future__ import annotations

import datetime
import decimal
import math
import pathlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.recorder import Json, Markdown, Path, Text, Url
from daglens.recorder.metadata import entries
from daglens.recorder.plain import plain
from daglens.schema.event_data import Fields
from daglens.storage.drafts import json_text


class Odd:
    def __str__(self) -> str:
        raise RuntimeError


@dataclass
class Point:
    x: int
    y: Any


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        ("some text", "text", "some text"),
        ("https://example.org/a?b=c", "url", "https://example.org/a?b=c"),
        ("HTTP://example.org", "url", "HTTP://example.org"),
        ("https://two words", "text", "https://two words"),
        ("ftp://example.org", "text", "ftp://example.org"),
        (pathlib.PurePosixPath("/a/b"), "path", "/a/b"),
        (True, "bool", True),
        (0, "int", 0),
        (2**53, "int", 2**53),
        (2**53 + 1, "int", "9007199254740993"),
        (-(2**63), "int", "-9223372036854775808"),
        (2**63, "text", "9223372036854775808"),
        (1.5, "float", 1.5),
        (Fraction(1, 2), "float", 0.5),
        (math.nan, "text", "nan"),
        (-math.inf, "text", "-inf"),
        (decimal.Decimal("1.10"), "text", "1.10"),
        (None, "json", None),
        ([1, {"a": (2, {3})}], "json", [1, {"a": [2, [3]]}]),
        ({"a": datetime.date(2026, 1, 2)}, "json", {"a": "2026-01-02"}),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), "text", "2026-01-02T03:00:00+00:00"),
        (Text("https://example.org"), "text", "https://example.org"),
        (Url("s3://bucket/key"), "url", "s3://bucket/key"),
        (Path("a/b"), "path", "a/b"),
        (Markdown("**a**"), "markdown", "**a**"),
        (Json("text"), "json", "text"),
        (Point(1, 2), "text", "Point(x=1, y=2)"),
        (Json(Point(1, Odd())), "json", {"x": 1, "y": "<Odd, whose text failed: RuntimeError>"}),
        (Odd(), "text", "<Odd, whose text failed: RuntimeError>"),
    ],
)
def test_kinds(value, kind, shown):
    """Each value becomes an entry of the kind that shows it best."""
    assert entries({"a": value}) == [{"label": "a", kind: shown}]


def test_a_description_comes_along():
    """The explicit kinds can say what the value is."""
    assert entries({"a": Markdown("x", "why")}) == [{"label": "a", "description": "why", "markdown": "x"}]


def test_what_holds_itself_ends():
    """A structure that contains itself, or is nested very deeply, is cut off as text."""
    inside: list[Any] = [1]
    inside.append(inside)
    assert plain(inside)[0] == 1
    deep: Any = 0
    for _ in range(500):
        deep = [deep]
    json_text(entries({"a": deep}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.frozensets(st.integers()),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_whatever_is_given_reads_back(metadata):
    """Any metadata is stored as JSON, and reads as one entry per label, of a kind that the schema takes."""
    import json

    found = entries(metadata)
    assert len(Fields(json.loads(json_text({"metadataEntries": found}))).entries("metadataEntries")) == len(metadata)
