"""The scalars take what they promise and nothing else."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daglens.schema.scalars import NotOfScalar, format_time, format_times, parse_big_int, parse_cursor, parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.datetimes(timezones=st.just(UTC))
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59)


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@given(moments)
def test_times_round_trip(moment: datetime) -> None:
    """What is written is RFC 3339 in UTC with six digits, and reads as the same microsecond."""
    text = format_time(us(moment))
    assert len(text) == len("2026-11-22T09:30:00.123456Z")
    assert text.endswith("Z")
    assert parse_time(text) == us(moment)
    assert datetime.fromisoformat(text) == moment


@given(moments.filter(lambda m: 2 < m.year < 9998), offsets)
def test_any_offset_is_converted(moment: datetime, minutes: int) -> None:
    """A time with an offset is the moment that it names."""
    local = moment.replace(tzinfo=None) + timedelta(minutes=minutes)
    sign, rest = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{local.isoformat(timespec='microseconds')}{sign}{rest // 60:02}:{rest % 60:02}"
    assert parse_time(text) == us(moment)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-22t09:30:00z", "2026-11-22T09:30:00.000000Z"),
        ("2026-11-22 09:30:00Z", "2026-11-22T09:30:00.000000Z"),
        ("2026-11-22T09:30:00.5Z", "2026-11-22T09:30:00.500000Z"),
        ("2026-11-22T09:30:00.1234567899Z", "2026-11-22T09:30:00.123456Z"),
        ("2026-11-22T09:30:00-00:00", "2026-11-22T09:30:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_ways_to_write_a_time(text: str, same: str) -> None:
    """RFC 3339 allows small letters, a space, digits of any number and leap seconds."""
    assert format_time(parse_time(text)) == same


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-22T09:30:00",
        "2026-11-22",
        "2026-11-22T09:30Z",
        "2026-11-22T09:30:00+0100",
        "2026-11-22T09:30:00+01",
        "2026-11-22T09:30:00+24:00",
        "2026-11-22T09:30:00+01:60",
        "2026-02-30T09:30:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T09:30:61Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "٢٠٢٦-11-22T09:30:00Z",
        " 2026-11-22T09:30:00Z",
        "2026-11-22T09:30:00Z\n",
        "now",
        "",
        1_700_000_000,
        1.5,
        True,
        None,
        [],
    ],
)
def test_a_time_that_would_have_to_be_guessed_at(value: Any) -> None:
    """A time without an offset, or what is no time, is refused."""
    with pytest.raises(NotOfScalar, match="DateTime"):
        parse_time(value)


@given(
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(us(datetime(1, 1, 1, tzinfo=UTC)), us(datetime(9999, 12, 31, tzinfo=UTC))),
    st.lists(st.sampled_from((0, 1, -1, 1_000_000, 60_000_000, 86_400_000_000)) | st.integers(-(10**12), 10**12)),
)
def test_many_times_are_written_as_each_is(first_us: int, steps_us: list[int]) -> None:
    """A column of times reads as its times one by one, whatever second, day or age each next one is of."""
    times_us = list(itertools.accumulate(steps_us, initial=first_us))
    assert format_times(times_us) == [format_time(at_us) for at_us in times_us]


def test_times_no_calendar_has_are_shown_as_its_border() -> None:
    """A stored time beyond the years 1 to 9999 doesn't spoil an answer."""
    assert format_time(-(2**63)) == "0001-01-01T00:00:00.000000Z"
    assert format_time(2**63) == "9999-12-31T23:59:59.999999Z"
    first, last = us(datetime.min.replace(tzinfo=UTC)), us(datetime.max.replace(tzinfo=UTC))
    for at_us in (first - 1, first, last, last + 1, last + 60_000_000, last + 60_000_001):
        assert format_times([at_us]) == format_times([at_us] * 2)[1:] == [format_time(at_us)]


@given(st.integers(-(2**63), 2**63 - 1))
def test_big_integers(number: int) -> None:
    """64 bits, as a decimal string or as a number."""
    assert parse_big_int(str(number)) == parse_big_int(number) == number


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, str(2**63), "1.0", 1.0, 1.5, True, False, "", " 1", "1 ", "+1", "0x1", "٣", "1e3", None, []],
)
def test_what_is_no_big_integer(value: Any) -> None:
    """Anything else, a float or a truth value too, is refused."""
    with pytest.raises(NotOfScalar, match="BigInt"):
        parse_big_int(value)


@pytest.mark.parametrize("value", [1, None, True, {}, b"e1..0"])
def test_what_is_no_cursor(value: Any) -> None:
    """A cursor is text; which text is told where it is used."""
    with pytest.raises(NotOfScalar, match="Cursor"):
        parse_cursor(value)
