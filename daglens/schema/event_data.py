"""Reads the data of an event as the contract's EventInput.data describes it.

What doesn't fit is `Lacks`, never guessed.
"""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from daglens.schema.metadata import (
    BoolMetadataEntry,
    ErrorInfo,
    FloatMetadataEntry,
    IntMetadataEntry,
    JsonMetadataEntry,
    MarkdownMetadataEntry,
    MetadataEntry,
    PathMetadataEntry,
    TextMetadataEntry,
    TypeCheck,
    UrlMetadataEntry,
)
from daglens.schema.scalars import JSON, BigInt
from daglens.storage.names import clean_text

_MAX_DEPTH = 100
"""Data nested deeper is kept as its text: writing it out again could run into the encoder's limit."""
_DECIMAL = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_LONG_NUMBER = re.compile(r"\d{19}", re.ASCII)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
"""What a lone surrogate can come from: an escape, or one that stands raw in the text of somebody else's storage."""
_EXACT_FLOAT = 2.0**53


class Lacks(Exception):
    """The data lacks what the type of its event promises, or holds something else in its place."""


def parse_data(text: str) -> Any:
    """The JSON value of an event's data; numbers that are not finite are null, lone surrogates U+FFFD.

    Text that is no JSON, or nested deeper than 100 levels, comes back as it is.
    """
    if text in ("{}", ""):
        return {}
    try:
        if text.count("[") + text.count("{") > _MAX_DEPTH and _depth(text) > _MAX_DEPTH:
            return clean_text(text)
        if not _LONG_NUMBER.search(text):
            # Four times as quick, and the same but for numbers that need more than a float or 64 bits.
            with suppress(orjson.JSONDecodeError):
                return orjson.loads(text)
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        return clean_text(text)
    return _cleaned(value) if _SURROGATE.search(text) else value


def _no_number(_: str) -> None:
    return None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _depth(text: str) -> int:
    """How deep brackets outside strings are nested; an upper bound where the text is no JSON."""
    depth = deepest = 0
    for character in re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): _cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return value


class Fields:
    """The data of one event, read key by key. An absent key and null are the same.

    Everything raises Lacks when it doesn't fit.
    """

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data

    def text(self, key: str) -> str:
        """A text that has to be there."""
        return _text(self._data.get(key))

    def text_or_none(self, key: str) -> str | None:
        """A text, or None."""
        value = self._data.get(key)
        return None if value is None else _text(value)

    def texts_or_none(self, key: str) -> list[str] | None:
        """A list of texts, or None."""
        value = self._data.get(key)
        return None if value is None else [_text(item) for item in _list(value)]

    def texts(self, key: str) -> list[str]:
        """A list of texts, empty when absent."""
        return self.texts_or_none(key) or []

    def integer(self, key: str) -> int:
        """A 32-bit integer that has to be there."""
        value = self.integer_or_none(key)
        if value is None:
            raise Lacks(key)
        return value

    def integer_or_none(self, key: str) -> int | None:
        """A 32-bit integer, or None."""
        value = self._data.get(key)
        if value is None:
            return None
        number = _whole(value)
        if not -(2**31) <= number < 2**31:
            raise Lacks(key)
        return number

    def number_or_none(self, key: str) -> float | None:
        """A finite number, or None."""
        return _number_or_none(self._data.get(key))

    def duration_or_none(self, key: str) -> float | None:
        """Seconds, never below 0 (a writer's clock may have been set back), or None."""
        number = self.number_or_none(key)
        return None if number is None else max(0.0, number)

    def boolean(self, key: str) -> bool:
        """A truth value that has to be there."""
        return _boolean(self._data.get(key))

    def boolean_or_false(self, key: str) -> bool:
        """A truth value, False when absent."""
        value = self._data.get(key)
        return False if value is None else _boolean(value)

    def error_or_none(self, key: str) -> ErrorInfo | None:
        """An error {className?, message, stack?, cause?}, or None."""
        value = self._data.get(key)
        return None if value is None else _error(_object(value))

    def entries(self, key: str) -> list[MetadataEntry]:
        """A list of metadata entries {label, description?, KIND: value}, empty when absent."""
        value = self._data.get(key)
        return [] if value is None else [_entry(_object(item)) for item in _list(value)]

    def type_check_or_none(self, key: str) -> TypeCheck | None:
        """A type check {success, label?, description?, metadataEntries?}, or None."""
        value = self._data.get(key)
        if value is None:
            return None
        fields = Fields(_object(value))
        return TypeCheck(
            success=fields.boolean("success"),
            label=fields.text_or_none("label"),
            description=fields.text_or_none("description"),
            metadata_entries=fields.entries("metadataEntries"),
        )


def _error(value: Mapping[str, Any]) -> ErrorInfo:
    fields = Fields(value)
    return ErrorInfo(
        class_name=fields.text_or_none("className"),
        message=fields.text("message"),
        stack=fields.texts("stack"),
        cause=fields.error_or_none("cause"),
    )


_KINDS = frozenset({"text", "url", "path", "json", "markdown", "float", "int", "bool"})


def _entry(value: Mapping[str, Any]) -> MetadataEntry:
    label = _text(value.get("label"))
    given = value.get("description")
    description = None if given is None else _text(given)
    rest = {key: inner for key, inner in value.items() if key not in ("label", "description")}
    kinds = [key for key in rest if key in _KINDS]
    if not kinds and rest:
        # A kind of a newer writer. What it says is shown, under the one type that can hold anything.
        return JsonMetadataEntry(label=label, description=description, json_value=JSON(rest))
    # Writers with typed records send every kind, all but one of them null.
    kinds = [key for key in kinds if rest[key] is not None] or kinds
    if len(kinds) != 1:
        raise Lacks("an entry of no kind, or of several")
    kind, inner = kinds[0], rest[kinds[0]]
    match kind:
        case "text":
            return TextMetadataEntry(label=label, description=description, text=_text(inner))
        case "url":
            return UrlMetadataEntry(label=label, description=description, url=_text(inner))
        case "path":
            return PathMetadataEntry(label=label, description=description, path=_text(inner))
        case "json":
            return JsonMetadataEntry(label=label, description=description, json_value=inner)
        case "markdown":
            return MarkdownMetadataEntry(label=label, description=description, markdown=_text(inner))
        case "float":
            return FloatMetadataEntry(label=label, description=description, float_value=_number_or_none(inner))
        case "int":
            return IntMetadataEntry(label=label, description=description, int_value=_big_int(inner))
        case _:
            return BoolMetadataEntry(label=label, description=description, bool_value=_boolean(inner))


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Lacks("no object")


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise Lacks("no list")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Lacks("no text")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Lacks("no truth value")


def _number_or_none(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Lacks("no number")
    try:
        number = float(value)
    except OverflowError:
        raise Lacks("a number beyond all floats") from None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    # 3.0 and 1e3 are whole numbers too, as JSON has it, as long as the float is exact.
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOAT:
        return int(value)
    raise Lacks("no whole number")


def _big_int(value: Any) -> BigInt:
    number = int(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else _whole(value)
    if not -(2**63) <= number < 2**63:
        raise Lacks("beyond 64 bits")
    return BigInt(number)
