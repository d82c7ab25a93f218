"""Metadata of events: any Python value becomes an entry of one of the kinds that the contract knows."""

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

_URL_SCHEMES = ("http://", "https://")


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A value that is shown as it is, whatever it looks like."""

    text: str
    description: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Url:
    """An address to follow; also one that isn't http."""

    url: str
    description: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """A path of a file or folder."""

    path: str | os.PathLike[str]
    description: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Markdown:
    """Text to be shown as Markdown."""

    markdown: str
    description: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Json:
    """A JSON value; what JSON has no form for becomes text."""

    value: Any
    description: str | None = None


def entries(metadata: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Metadata entries `{label, description?, KIND: value}` in the given order.

    By type: str (an http or https address: url), bool, int, float, path objects, dict and list (json), None (json),
    the classes of this module. Integers beyond 64 bits, floats that are not finite and anything else become text.
    What is no mapping becomes one entry `metadata`. Never raises.
    """
    if metadata is None:
        return []
    try:
        return [_entry(text(label), value) for label, value in metadata.items()]
    except Exception:
        return [_entry("metadata", metadata)]


def _entry(label: str, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"label": label}
    description = value.description if isinstance(value, Text | Url | Path | Markdown | Json) else None
    if description is not None:
        found["description"] = text(description)
    kind, shown = _kind(value)
    found[kind] = shown
    return found


def _kind(value: Any) -> tuple[str, Any]:
    match value:
        case Text():
            return "text", text(value.text)
        case Url():
            return "url", text(value.url)
        case Path():
            return "path", _path(value.path)
        case Markdown():
            return "markdown", text(value.markdown)
        case Json():
            return "json", plain(value.value)
        case bool():
            return "bool", value
        case str():
            return ("url" if _is_url(value) else "text"), text(value)
        case os.PathLike():
            return "path", _path(value)
        case None | Mapping() | list() | tuple():
            return "json", plain(value)
    if type(value).__name__ == "bool_":  # numpy's
        return "bool", bool(value)
    number = _number(value)
    return ("text", text(value)) if number is None else number


def _number(value: Any) -> tuple[str, Any] | None:
    # Integral and Real also take what numpy and its like count with.
    try:
        if isinstance(value, Integral):
            whole = int(value)
            if abs(whole) <= _EXACT_INT:
                return "int", whole
            return ("int" if -_INT64 <= whole < _INT64 else "text"), str(whole)
        if isinstance(value, Real):
            number = float(value)
            return ("float", number) if math.isfinite(number) else ("text", str(number))
    except Exception:
        return None
    return None


def _is_url(value: str) -> bool:
    return value.lower().startswith(_URL_SCHEMES) and not any(c.isspace() for c in value)


def _path(value: Any) -> str:
    try:
        return clean_text(os.fsdecode(value))
    except Exception:
        return text(value)


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
        return _path(value)
    number = _number(value)
    if number is not None:
        return number[1]
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
