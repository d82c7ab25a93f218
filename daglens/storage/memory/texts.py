"""Texts in use, in order of code points: what completes a prefix."""

from __future__ import annotations

from bisect import bisect_left, insort


class Texts:
    """Texts with how often each is in use; finds those with a prefix without reading the others."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._sorted: list[str] = []

    def add(self, text: str) -> None:
        if text not in self._uses:
            insort(self._sorted, text)
        self._uses[text] = self._uses.get(text, 0) + 1

    def remove(self, text: str) -> None:
        self._uses[text] -= 1
        if not self._uses[text]:
            del self._uses[text]
            del self._sorted[bisect_left(self._sorted, text)]

    def beginning_with(self, prefix: str, limit: int) -> list[str]:
        found: list[str] = []
        for index in range(bisect_left(self._sorted, prefix), len(self._sorted)):
            if len(found) >= limit or not self._sorted[index].startswith(prefix):
                break
            found.append(self._sorted[index])
        return found
