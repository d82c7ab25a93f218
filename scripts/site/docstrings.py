"""Reference pages of Python modules, out of their docstrings. For a handful of modules this is less than a plug-in."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, get_type_hints

import daglens

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")


def python_api() -> str:
    """The page of what `import daglens` gives."""
    found = [getattr(daglens, name) for name in daglens.__all__ if not name.startswith("_")]
    parts = ["# Python API\n", "What `import daglens` gives. How to use it: [Record](../recorder.md).\n"]
    return "\n".join([*parts, *(_member(each, each.__name__, 2) for each in found)])


def contracts() -> str:
    """The page of the contracts that storages fulfil, the records that they exchange, and the errors they raise."""
    parts = [
        "# Storage contracts\n",
        "What an author of a storage fulfils. A whole example: [Write a storage](../write-a-storage.md).\n",
    ]
    for name in ("daglens.storage.contract", "daglens.storage.records", "daglens.storage.errors", "daglens.access"):
        module = import_module(name)
        parts.append(f"## {name}\n\n{_text(module)}")
        parts += [_member(each, each.__name__, 3) for each in members(module)]
    return "\n".join(parts)


def members(module: ModuleType) -> list[type]:
    """Public classes that a module defines, or a package offers, in the order in which they stand."""
    offered = getattr(module, "__all__", None)
    if offered is not None:
        return [each for name in offered if inspect.isclass(each := getattr(module, name))]
    classes = [each for name, each in vars(module).items() if inspect.isclass(each) and not name.startswith("_")]
    return [each for each in classes if each.__module__ == module.__name__]


def _member(found: Any, name: str, level: int) -> str:
    title = f"{'#' * level} {name}\n"
    if not inspect.isclass(found):
        return f"{title}\n{_signature(found, name)}\n{_text(found)}"
    parts = [title, _text(found)]
    if issubclass(found, Enum):
        parts.append("\n".join(f"- `{each.name}`" for each in found) + "\n")
    elif not issubclass(found, Exception):
        parts += _fields(found)
    for key, value in vars(found).items():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not key.startswith("_") and inspect.isfunction(inner) and inspect.getdoc(inner):
            shown = (
                f"```python\n{key}: {inspect.signature(inner).return_annotation}\n```\n"
                if isinstance(value, property)
                else _signature(inner, key)
            )
            parts.append(f"{'#' * (level + 1)} {name}.{key}\n\n{shown}\n{_text(inner)}")
    return "\n".join(parts)


def _fields(found: type) -> Iterator[str]:
    if dataclasses.is_dataclass(found) or hasattr(found, "_fields"):
        hints = {key: _hint(value) for key, value in _public_hints(found).items()}
        if hints:
            lines = "\n".join(f"{key}: {value}" for key, value in hints.items())
            yield f"```python\n{lines}\n```\n"


def _public_hints(found: type) -> dict[str, Any]:
    """As get_type_hints, which looks at all: the type of a private field may be known to type checkers alone."""
    hints: dict[str, Any] = {}
    for kind in reversed(found.__mro__):
        public = {key: value for key, value in inspect.get_annotations(kind).items() if not key.startswith("_")}
        hints |= get_type_hints(SimpleNamespace(__annotations__=public), vars(sys.modules[kind.__module__]))
    return hints


def _hint(value: Any) -> str:
    text = value.__name__ if inspect.isclass(value) and not hasattr(value, "__origin__") else str(value)
    return re.sub(r"\b(?:daglens|typing|collections|pathlib|datetime)\.(?:\w+\.)*", "", text)


def _signature(function: Any, name: str) -> str:
    signature = inspect.signature(function)
    text = f"{name}{signature}"
    if len(text) > 80:
        inner = ",\n".join(f"    {each}" for each in signature.parameters.values())
        arrow = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
        text = f"{name}(\n{inner},\n){arrow}"
    # Annotations are texts here, and enums show their numbers.
    text = re.sub(r"((?::|->) )'([^'\n]*)'", r"\1\2", text)
    return f"```python\n{re.sub(r'<([A-Za-z.]+): [^>]+>', chr(92) + '1', text)}\n```\n"


def _text(found: Any) -> str:
    """A docstring as Markdown: its sections become lists, its indented parts code."""
    lines = (inspect.getdoc(found) or "").splitlines()
    out: list[str] = []
    inside = False
    for line in lines:
        if match := _SECTION.match(line):
            inside = True
            out += ["", f"**{match[1]}**", ""]
        elif inside and re.match(r" {4}\S", line):
            name, colon, rest = line.strip().partition(": ")
            out.append(f"- `{name}`: {rest}" if colon else f"- {line.strip()}")
        elif inside and line.startswith("     "):
            out.append(f"  {line.strip()}")
        else:
            inside = inside and not line
            out.append(line)
    return "\n".join(out) + "\n"
