"""The four scalars. Strict: what would have to be guessed at is refused."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NewType

import strawberry
from strawberry.types.scalar import ScalarDefinition

DateTime = NewType("DateTime", int)
"""Microseconds since 1970-01-01 UTC; RFC 3339 on the wire."""
JSON = NewType("JSON", object)
Cursor = NewType("Cursor", str)
BigInt = NewType("BigInt", int)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - everything here is UTC; without a zone isoformat() ends in the digits
_FIRST_US = (datetime.min - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ901
_LAST_US = (datetime.max - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ901
_MINUTE_US = 60_000_000
_TWO_DIGITS = [f"{number:02d}" for number in range(60)]
_THREE_DIGITS = [f"{number:03d}" for number in range(1000)]
_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_DECIMAL = re.compile(r"-?\d{1,19}", re.ASCII)


class NotOfScalar(ValueError):
    """A value that a client sent is none of its scalar; the message says what would be."""


def format_time(at_us: int) -> str:
    """RFC 3339 in UTC, always with six digits of the second; times outside the years 1 … 9999 read as their border."""
    at = _EPOCH + timedelta(microseconds=min(max(at_us, _FIRST_US), _LAST_US))
    return f"{at.isoformat(timespec='microseconds')}Z"


def format_times(times_us: Sequence[int]) -> list[str]:
    """The texts of many times, as `format_time` gives them: quick for neighbours of one minute."""
    written: list[str] = []
    add, two, three = written.append, _TWO_DIGITS, _THREE_DIGITS
    minute_us, minute, minute_long_us = 0, "", 0
    for at_us in times_us:
        micros = at_us - minute_us
        if not 0 <= micros < minute_long_us:
            if not _FIRST_US <= at_us <= _LAST_US:
                add(format_time(at_us))
                continue
            micros = at_us % _MINUTE_US
            minute_us, minute_long_us = at_us - micros, _MINUTE_US
            minute = format_time(minute_us)[: len("2026-11-22T09:30:")]
        millis = micros // 1000
        add(f"{minute}{two[millis // 1000]}.{three[millis % 1000]}{three[micros % 1000]}Z")
    return written


def parse_time(value: Any) -> DateTime:
    """Microseconds from an RFC 3339 text with an offset; digits beyond the sixth are cut off.

    Raises:
        NotOfScalar: It is no such text, or outside the years 1 … 9999 in UTC.
    """
    match = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise NotOfScalar(
            f"DateTime needs RFC 3339 text with an offset, e.g. 2026-11-22T09:30:00.5Z or …+01:00, not {_shown(value)}."
        )
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    micros = int(((match[7] or "") + "000000")[:6])
    offset_minutes = 0
    if match[9]:
        offset_hours, offset_minutes = int(match[10]), int(match[11])
        if offset_hours > 23 or offset_minutes > 59:
            raise NotOfScalar(f"DateTime has an offset that no clock has: {_shown(value)}.")
        offset_minutes = (offset_hours * 60 + offset_minutes) * (1 if match[9] == "+" else -1)
    # RFC 3339 allows the leap second 60; it reads as the second after 59.
    leap = second == 60
    try:
        local = datetime(year, month, day, hour, minute, 59 if leap else second)  # noqa: DTZ001
    except ValueError:
        raise NotOfScalar(f"DateTime names a moment that no calendar has: {_shown(value)}.") from None
    since = local - _EPOCH + timedelta(seconds=int(leap), minutes=-offset_minutes, microseconds=micros)
    at_us = since // timedelta(microseconds=1)
    if not _FIRST_US <= at_us <= _LAST_US:
        raise NotOfScalar(f"DateTime is outside the years 1 to 9999: {_shown(value)}.")
    return DateTime(at_us)


def parse_big_int(value: Any) -> BigInt:
    """A 64-bit integer from a decimal string or an integer.

    Raises:
        NotOfScalar: It is neither, or too large.
    """
    number: int | None = None
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None or not -(2**63) <= number < 2**63:
        raise NotOfScalar(f"BigInt needs a 64-bit integer as a decimal string, not {_shown(value)}.")
    return BigInt(number)


def parse_cursor(value: Any) -> Cursor:
    """A cursor's text, read where it is used.

    Raises:
        NotOfScalar: It is no text.
    """
    if not isinstance(value, str):
        raise NotOfScalar(f"Cursor needs the text of an answer's cursor, not {_shown(value)}.")
    return Cursor(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


SCALARS: dict[object, ScalarDefinition] = {
    DateTime: strawberry.scalar(
        name="DateTime",
        description="RFC 3339 date and time in UTC, microseconds kept, e.g. 2026-11-22T09:30:00.123456Z.",
        serialize=format_time,
        parse_value=parse_time,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value.",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
    Cursor: strawberry.scalar(
        name="Cursor",
        description="A position in a list or feed. Opaque: take it from an answer, hand it back unchanged.",
        serialize=str,
        parse_value=parse_cursor,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="A 64-bit integer, as a decimal string on the wire (GraphQL's Int has 32 bits).",
        serialize=str,
        parse_value=parse_big_int,
    ),
}
