"""Names that clients choose, as labels of metrics: only so many of them, since each one is kept for ever."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import daglens

OTHER = "other"
ANONYMOUS = "anonymous"
EXAMPLES: Final = tuple(
    name
    for path in sorted((Path(daglens.__file__).parent / "graphql" / "operations").glob("*.graphql"))
    for name in re.findall(r"^(?:query|mutation|subscription)\s+(\w+)", path.read_text(), re.MULTILINE)
)
"""Names of the operations that GraphiQL opens with."""
_MOST_KNOWN = 1000
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}", re.ASCII)


class BoundedNames:
    """Gives a name itself while there is room for it, else `other`."""

    def __init__(self, known: Iterable[str] = (), *, room: int = 100) -> None:
        """`known` names always show; of all others the first `room` do."""
        self._shown = set(known)
        self._room = room
        self._room_for_known = _MOST_KNOWN

    def know(self, names: Iterable[str]) -> None:
        """These show, too, whatever clients send: the first 1,000 of all calls, and none that can't be a name."""
        for name in names:
            if self._room_for_known > 0 and name not in self._shown and _NAME.fullmatch(name):
                self._room_for_known -= 1
                self._shown.add(name)

    def label(self, name: str | None) -> str:
        """What stands for a name."""
        if not name:
            return ANONYMOUS
        if name in self._shown:
            return name
        if self._room <= 0 or not _NAME.fullmatch(name):
            return OTHER
        self._room -= 1
        self._shown.add(name)
        return name
