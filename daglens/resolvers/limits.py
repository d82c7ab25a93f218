"""How much one answer may hold. A limit above its cap gives the cap, 0 gives no nodes, a negative one is BAD_LIMIT."""

from __future__ import annotations

from typing import Final

from daglens.resolvers.errors import BadLimit
from daglens.resolvers.log_text import MIN_CHUNK_BYTES

MAX_RUNS: Final = 1_000
MAX_EVENTS: Final = 1_000
MAX_EVENTS_BYTES: Final = 16 * 1024 * 1024
"""Of message and data in one page of events; a page that would have more ends earlier, with `hasMore`."""
MAX_STEPS: Final = 1_000
MAX_ARTIFACTS: Final = 1_000
MAX_NAMES: Final = 1_000
"""Tag keys, tag values, names of pipelines."""
MAX_COUNT: Final = 100_000
"""How far runs are counted."""
MAX_FILTER_VALUES: Final = 1_000
"""Values in one list of a filter."""
MAX_FILTER_TAGS: Final = 200
"""Tags in a filter: a run has no more."""
MAX_CHUNK_BYTES: Final = 4 * 1024 * 1024
MAX_WAIT_S: Final = 25.0


def capped(limit: int, cap: int, name: str = "limit") -> int:
    """The limit that holds: 0 … cap.

    Raises:
        BadLimit: It is negative; `name` says which argument it was.
    """
    if limit < 0:
        raise BadLimit(f"`{name}` was {limit}.")
    return min(limit, cap)


def chunk_bytes(max_bytes: int) -> int:
    """The size of a chunk of a compute log that holds: 4 … 4 MiB."""
    return max(MIN_CHUNK_BYTES, min(max_bytes, MAX_CHUNK_BYTES))
