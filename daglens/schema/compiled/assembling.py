"""Columns to dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

Assemble: TypeAlias = Callable[[Sequence[Sequence[Any]]], list[dict[str, Any]]]

_MOST_KEYS = 64


def assembling(keys: Sequence[str]) -> Assemble:
    """What makes of columns, as many as there are keys (at least one), a dictionary per item, keys in this order."""
    if len(keys) > _MOST_KEYS:
        return lambda columns: [dict(zip(keys, values, strict=True)) for values in zip(*columns, strict=True)]
    return _maker(len(keys))(*keys)


@lru_cache(maxsize=_MOST_KEYS + 1)
def _maker(count: int) -> Callable[..., Assemble]:
    # A dictionary display takes half the time of dict(zip(…)). Only the number of keys stands in the code, as in the
    # standard library's namedtuple: nothing that a client sent.
    keys = [f"k{n}" for n in range(count)]
    values = [f"v{n}" for n in range(count)]
    pairs = ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
    code = f"lambda {', '.join(keys)}: lambda columns: [{{{pairs}}} for {', '.join(values)}, in zip(*columns)]"
    made: Callable[..., Assemble] = eval(code, {"__builtins__": {"zip": zip}})
    return made
