"""Writes columns of leaf values, more strictly than graphql-core: just the expected Python type, or a Surprise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from math import isfinite
from types import NoneType
from typing import Any, TypeAlias

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
)

from daglens.schema.compiled.rows import Surprise
from daglens.schema.scalars import JSON, SCALARS, BigInt, Cursor, DateTime, format_times

Complete: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Values of a column as they stand in the answer, in order; raises Surprise."""

_BACKREF = "strawberry-definition"
_ANY_JSON = frozenset({str, int, float, bool, list, dict})


def leaf(kind: GraphQLLeafType, *, nullable: bool) -> Complete:
    """How values of a leaf type are written."""
    if kind is GraphQLString or kind is GraphQLID:
        return _checked(str, nullable, None)
    if kind is GraphQLBoolean:
        return _checked(bool, nullable, None)
    if kind is GraphQLInt:
        return _checked(int, nullable, _ints)
    if kind is GraphQLFloat:
        return _checked(float, nullable, _floats)
    if isinstance(kind, GraphQLEnumType):
        return _enum(kind, nullable)
    definition = (kind.extensions or {}).get(_BACKREF)
    if definition is SCALARS[DateTime]:
        return _checked(int, nullable, format_times)
    if definition is SCALARS[Cursor]:
        return _checked(str, nullable, None)
    if definition is SCALARS[BigInt]:
        return _checked(int, nullable, _texts)
    if definition is SCALARS[JSON]:
        return _any_json(nullable)
    raise Surprise(f"{kind.name} is no scalar of this schema")


def _checked(kind: type, nullable: bool, write: Complete | None) -> Complete:
    """Values of exactly this type, written by `write`, or as they are."""
    alone, with_null = {kind}, {kind, NoneType}

    def complete(values: Sequence[Any]) -> Sequence[Any]:
        found = set(map(type, values))
        if found == alone:
            return values if write is None else write(values)
        if not nullable or not found <= with_null:
            if not found:
                return values
            raise Surprise(found)
        if write is None or kind not in found:
            return values
        written = iter(write([value for value in values if value is not None]))
        return [None if value is None else next(written) for value in values]

    return complete


def _ints(values: Sequence[int]) -> Sequence[int]:
    if min(values) < -(2**31) or max(values) >= 2**31:
        raise Surprise("an integer beyond 32 bits")
    return values


def _floats(values: Sequence[float]) -> Sequence[float]:
    if not all(map(isfinite, values)):
        raise Surprise("a number that is not finite")
    return values


def _texts(values: Sequence[int]) -> Sequence[str]:
    return list(map(str, values))


def _enum(kind: GraphQLEnumType, nullable: bool) -> Complete:
    definition = (kind.extensions or {}).get(_BACKREF)
    members: type[Enum] | None = getattr(definition, "wrapped_cls", None)
    if members is None:
        raise Surprise(f"{kind.name} is no enum of Python's")
    names = {member: kind.coerce_output_value(member) for member in members}

    def write(values: Sequence[Any]) -> Sequence[str]:
        return list(map(names.__getitem__, values))

    return _checked(members, nullable, write)


def _any_json(nullable: bool) -> Complete:
    def complete(values: Sequence[Any]) -> Sequence[Any]:
        found = set(map(type, values))
        if found <= _ANY_JSON or (nullable and found <= _ANY_JSON | {NoneType}):
            return values
        raise Surprise(found)

    return complete
