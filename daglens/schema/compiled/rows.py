"""What the resolver of a long list returns in place of a list of objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

Item_co = TypeVar("Item_co", covariant=True)


class Surprise(Exception):
    """A value that is not of the kind that is expected in its place: graphql-core has to say what becomes of it."""


class Columns(Protocol):
    """Some items, field by field."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> Sequence[Any]:
        """What the attribute of this name holds in each item's object, in order.

        May raise anything where making one of the objects raises; the list is then completed by way of the objects.
        """
        ...


class Rows(ABC, Generic[Item_co]):
    """Items as storage gave them. Iterating makes the object of each: the reference that columns have to agree with.

    Attributes:
        items: The class of the items' objects, or that of their interface.
        common: Python names of the fields that `columns` gives, which are read alike whatever an item's type.
        within_items: Such rows stand in the items of another list. Many are written as one: they have `joined`.
    """

    items: ClassVar[type]
    common: ClassVar[frozenset[str]] = frozenset()
    within_items: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Item_co]: ...

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The items of several lists in one."""
        raise NotImplementedError

    @abstractmethod
    def columns(self) -> Columns:
        """All items, for fields of `common` alone. Raises where making one of the objects would."""

    @abstractmethod
    def by_type(self) -> Sequence[tuple[type, Sequence[int] | None, Columns]]:
        """The items by the class of their objects: the class, the places in the list (None: all), and the columns."""


class ObjectColumns:
    """Objects that there are already."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def column(self, name: str) -> Sequence[Any]:
        """See Columns."""
        return list(map(attrgetter(name), self._items))


def objects_by_type(items: Sequence[Any]) -> Sequence[tuple[type, Sequence[int] | None, Columns]]:
    """As `Rows.by_type`, for objects."""
    kinds = set(map(type, items))
    if len(kinds) == 1:
        return [(kinds.pop(), None, ObjectColumns(items))]
    places: dict[type, list[int]] = {}
    for index, item in enumerate(items):
        places.setdefault(type(item), []).append(index)
    return [(kind, indices, ObjectColumns([items[i] for i in indices])) for kind, indices in places.items()]
