"""One import of a run at a time, where two at once would store something twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from daglens.storage.contract import Leases, RunStorage
from daglens.storage.errors import DaglensError

LEASE_S = 5.0
"""How long the claim of an import that was killed stays, and most that another waits for it."""

_PAUSE_S = 0.1


class ClaimedByAnother(Exception):
    """Another import has the run."""


@contextmanager
def claim(runs: RunStorage, run_id: str) -> Iterator[Callable[[], None]]:
    """Have the import of a run to oneself within the block, by a lease of the storage; one that has none gives it to
    everybody.

    What is given keeps the claim, and is to be called before each write. Both wait a little longer than `LEASE_S`
    seconds at most for another import's claim to end.

    Raises:
        ClaimedByAnother, StorageUnavailable
    """
    if not isinstance(runs, Leases):
        yield lambda: None
        return
    leases: Leases = runs
    # A run id may be as long as a lease's name.
    name, holder = f"import {hashlib.sha256(run_id.encode()).hexdigest()}", token_hex(16)
    kept_s = float("-inf")

    def keep() -> None:
        nonlocal kept_s
        now = time.monotonic()
        if now - kept_s < LEASE_S / 3:
            return
        until_s = now + LEASE_S + 2 * _PAUSE_S
        while not leases.lease(name, holder, LEASE_S):
            if now > until_s:
                raise ClaimedByAnother
            time.sleep(_PAUSE_S)
            now = time.monotonic()
        kept_s = now

    keep()
    try:
        yield keep
    finally:
        # It ends by itself.
        with suppress(DaglensError):
            leases.lease(name, holder, 0)
