"""What a request can get wrong. Messages are written for whoever sent it; codes are stable.

Some of these become members of result unions (InvalidCursor, InvalidFilter); the others stand in `errors[]`.
"""

from __future__ import annotations

from daglens.storage.errors import DaglensError


class InvalidCursor(DaglensError):
    """This cursor can't be used here: take one from an answer of the same list and hand it back unchanged."""

    code = "INVALID_CURSOR"


class InvalidFilter(DaglensError):
    """This filter can't be used."""

    code = "INVALID_FILTER"


class BadLimit(DaglensError):
    """A limit can't be negative."""

    code = "BAD_LIMIT"


class BadWait(DaglensError):
    """This request can't wait for events."""

    code = "BAD_WAIT"


class NothingLive(DaglensError):
    """Nothing can be waited for or watched here."""

    code = "NOTHING_LIVE"


class NotImplementedHere(DaglensError):
    """This version of daglens doesn't do that yet."""

    code = "NOT_IMPLEMENTED"
