"""Which run changed last, and since when: what `RunStorage.changes` reads."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Iterator

from daglens.storage.feed_positions import FeedPosition


class ChangeLog:
    """The latest change of each run, in order: a counter moved under the storage's lock, so no change is overtaken."""

    def __init__(self) -> None:
        # Random, so that a position of an earlier process is refused instead of being misread.
        self._name = secrets.token_hex(4)
        self._last = 0
        self._change_of: dict[str, int] = {}
        self._entries: list[tuple[int, str]] = []

    def note(self, run_id: str) -> None:
        self._last += 1
        self._change_of[run_id] = self._last
        self._entries.append((self._last, run_id))
        if len(self._entries) > 2 * len(self._change_of) + 100:
            self._entries = [(n, r) for n, r in self._entries if self._change_of.get(r) == n]

    def forget(self, run_id: str) -> None:
        self._change_of.pop(run_id, None)

    def position(self, now_us: int) -> FeedPosition:
        """That of now."""
        return FeedPosition.of_now(self._name, self._last, now_us)

    def parse(self, text: str, now_us: int) -> FeedPosition:
        """A position of this log that misses nothing.

        Raises:
            InvalidName: It is another text.
        """
        position = FeedPosition.parse(text)
        position.check(self._name, self._last, now_us)
        return position

    def after(self, number: int) -> Iterator[tuple[int, str]]:
        for index in range(bisect_right(self._entries, number, key=lambda entry: entry[0]), len(self._entries)):
            entry = self._entries[index]
            if self._change_of.get(entry[1]) == entry[0]:
                yield entry
