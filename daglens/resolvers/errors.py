"""What a request can get wrong. Messages are written for whoever sent it; codes are stable.

Some of these become members of result unions (InvalidCursor, InvalidFilter); the others stand in `errors[]`.
"""

from __future__ import annotations

from daglens.storage.errors import DaglensError
from daglens.storage.records import RunStatus


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


class InvalidInput(DaglensError):
    """A value of the input can't be taken; nothing was stored."""

    code = "INVALID_INPUT"

    def __init__(self, path: str, hint: str, *, code: str | None = None) -> None:
        """
        Args:
            path: Of the bad value, e.g. `events.3.data`; what stands in an argument `input` begins below it.
            code: What clients are told in place of INVALID_INPUT.
        """
        self.path = path
        self.told_code = code or self.code
        super().__init__(hint)


class RunNotTerminable(DaglensError):
    """The run has ended already; there is nothing to stop."""

    code = "RUN_NOT_TERMINABLE"

    def __init__(self, run_id: str, status: RunStatus) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"Its status is {status}.")
