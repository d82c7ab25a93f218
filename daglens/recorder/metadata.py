"""Metadata of events: any Python value becomes an entry of one of the kinds that the contract knows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from daglens.recorder.plain import number, path_text, plain, text

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
            return "path", path_text(value.path)
        case Markdown():
            return "markdown", text(value.markdown)
        case Json():
            return "json", plain(value.value)
        case bool():
            return "bool", value
        case str():
            return ("url" if _is_url(value) else "text"), text(value)
        case os.PathLike():
            return "path", path_text(value)
        case None | Mapping() | list() | tuple():
            return "json", plain(value)
    if type(value).__name__ == "bool_":  # numpy's
        return "bool", bool(value)
    found = number(value)
    return ("text", text(value)) if found is None else found


def _is_url(value: str) -> bool:
    return value.lower().startswith(_URL_SCHEMES) and not any(c.isspace() for c in value)
