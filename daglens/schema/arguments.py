"""Optional arguments: absent (UNSET) and null are the same to every field here."""

from typing import TypeVar

import strawberry

T = TypeVar("T")


def given(value: T | None) -> T | None:
    """The value, or None when the argument is absent or null."""
    return None if value is strawberry.UNSET else value
