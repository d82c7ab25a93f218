"""Positions in the feed of changed runs: how many changes they include, and when that was all there were.

A deletion is remembered for 90 days by its tombstone. So a position from before that could miss one, and says its age:
`<identity of the feed>.<hour>-<number of the last change>`. One without an hour was given by an older version.
"""

from __future__ import annotations

from typing import NamedTuple

from daglens.storage.contract import TOMBSTONE_DAYS
from daglens.storage.errors import InvalidName

_HOUR_US = 3_600_000_000

# An hour less: a deletion looks at the clock before it waits for its turn to write.
_LIFE_HOURS = TOMBSTONE_DAYS * 24 - 1

_NUMBER_DIGITS = 18
_HOUR_DIGITS = 9


class FeedPosition(NamedTuple):
    """A place in a feed.

    Attributes:
        number: Of the last change before it.
        hour: The last (of storage time, since 1970) in which there was no change behind it; None: not known.
    """

    identity: str
    number: int
    hour: int | None

    @classmethod
    def of_now(cls, identity: str, number: int, now_us: int) -> FeedPosition:
        """Behind the newest change."""
        return cls(identity, number, now_us // _HOUR_US)

    @classmethod
    def parse(cls, text: str) -> FeedPosition:
        """What `str` made.

        Raises:
            InvalidName: It didn't.
        """
        name, _, number = text.partition("-")
        identity, dot, hour = name.partition(".")
        if not _is_number(number, _NUMBER_DIGITS) or (dot and not _is_number(hour, _HOUR_DIGITS)):
            raise no_position()
        return cls(identity, int(number), int(hour) if dot else None)

    def check(self, identity: str, last: int, now_us: int) -> None:
        """Return when all changes behind it are known.

        Args:
            identity, last: The feed's, and the number of its newest change.

        Raises:
            InvalidName: It is none of this feed, or so old that deletions may be forgotten.
        """
        if self.identity != identity or self.number > last:
            raise no_position()
        if self.hour is not None and now_us // _HOUR_US - self.hour >= _LIFE_HOURS:
            raise InvalidName(
                f"This position is {TOMBSTONE_DAYS} days old, and deletions since may be forgotten. Begin anew."
            )

    def __str__(self) -> str:
        hour = "" if self.hour is None else f".{self.hour}"
        return f"{self.identity}{hour}-{self.number}"


def no_position() -> InvalidName:
    """What is raised for a text that is no position."""
    return InvalidName("This is no position in the changes of this storage.")


def _is_number(text: str, most_digits: int) -> bool:
    # Digits are counted first: Python refuses to read thousands of them, with an error of its own.
    return len(text) <= most_digits and text.isascii() and text.isdecimal()
