"""Any Python value as an event can hold it: a text, or a JSON value."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final

from daglens.storage.names import clean_text

_EXACT_INT = 2**53
_INT64 = 2**63
MAX_DEPTH: Final = 50
"""JSON nested deeper reads as text from there on."""


def text(value: Any) -> str:
    """The text of any value; never raises."""
    try:
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value.isoformat()
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose text failed: {type(error).__name__}>"


def plain(value: Any) -> Any:
    """The value as JSON has it; what JSON has no form for becomes text, as does what is nested too deep or holds
    itself. Never raises."""
    try:
        return _plain(value, ())
    except Exception:
        return text(value)


def fields(data: object) -> dict[str, Any]:
    """The data of an event as a JSON object; what is no mapping stands under the key `value`. Never raises."""
    found = {} if data is None else plain(data)
    return found if isinstance(found, dict) else {"value": found}


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, os.PathLike):
        return path_text(value)
    found = number(value)
    if found is not None:
        return found[1]
    is_object = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if not (is_object or isinstance(value, Mapping | list | tuple | set | frozenset)):
        return text(value)
    if len(around) >= MAX_DEPTH or id(value) in around:
        return text(value)[:1000]
    within = (*around, id(value))
    if isinstance(value, Mapping):
        return {text(key): _plain(inner, within) for key, inner in value.items()}
    if is_object:
        return {one.name: _plain(getattr(value, one.name, None), within) for one in dataclasses.fields(value)}
    return [_plain(inner, within) for inner in value]


def number(value: Any) -> tuple[str, Any] | None:
    """Which kind of number a value is, and the number: `int` (beyond 2^53 as text), `float`, or `text`; None: none."""
    # Integral and Real also take what numpy and its like count with.
    try:
        if isinstance(value, Integral):
            whole = int(value)
            if abs(whole) <= _EXACT_INT:
                return "int", whole
            return ("int" if -_INT64 <= whole < _INT64 else "text"), str(whole)
        if isinstance(value, Real):
            real = float(value)
            return ("float", real) if math.isfinite(real) else ("text", str(real))
    except Exception:
        return None
    return None


def path_text(value: Any) -> str:
    """A path as text; never raises."""
    try:
        return clean_text(os.fsdecode(value))
    except Exception:
        return text(value)
