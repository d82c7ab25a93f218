"""Whether a value has the type that an annotation of the contract's records says, all the way down."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Fits = Callable[[Any], bool]


@cache
def fits(hint: Any) -> Fits:
    """A function that says whether a value is of the annotated type.

    Sequences may be of any kind but text, and a whole number will do for a Boolean, as a database gives it.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if hint is None or hint is types.NoneType:
        return lambda value: value is None
    if origin in (Union, types.UnionType):
        return _any_of([fits(argument) for argument in arguments])
    if origin is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
        return _pair([fits(argument) for argument in arguments])
    if origin in (Sequence, tuple):
        return _sequence(tuple if origin is tuple else Sequence, fits(arguments[0]))
    if origin is Mapping:
        return _mapping(fits(arguments[0]), fits(arguments[1]))
    if isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields")):
        return _record(hint)
    if hint is bool:
        return lambda value: isinstance(value, int)
    if hint is int:
        return lambda value: isinstance(value, int) and value is not True and value is not False
    return lambda value: isinstance(value, hint)


def _any_of(kinds: list[Fits]) -> Fits:
    return lambda value: any(kind(value) for kind in kinds)


def _pair(kinds: list[Fits]) -> Fits:
    def check(value: Any) -> bool:
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and len(value) == len(kinds)
            and all(kind(part) for kind, part in zip(kinds, value, strict=True))
        )

    return check


def _sequence(kind: Any, item: Fits) -> Fits:
    return lambda value: isinstance(value, kind) and not isinstance(value, str) and all(map(item, value))


def _mapping(key: Fits, item: Fits) -> Fits:
    return lambda value: isinstance(value, Mapping) and all(map(key, value)) and all(map(item, value.values()))


def _record(kind: type) -> Fits:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else list(kind._fields)  # type: ignore[attr-defined]
    checks = [(name, fits(hints[name])) for name in names]
    return lambda value: isinstance(value, kind) and all(check(getattr(value, name)) for name, check in checks)
