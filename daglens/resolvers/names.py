"""Names that a client asks for. One that can't be stored names nothing, so no storage is asked for it."""

from __future__ import annotations

from collections.abc import Iterable

from daglens.storage.errors import InvalidName
from daglens.storage.names import check_name


def is_name(text: str) -> bool:
    """Whether a run id, step key, tag key … of this text could have been stored."""
    try:
        check_name(text, "name")
    except InvalidName:
        return False
    return True


def names_only(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that could have been stored, each once, in order."""
    return tuple(dict.fromkeys(text for text in texts if is_name(text)))
