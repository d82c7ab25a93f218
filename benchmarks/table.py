"""The table that `make bench` prints and docs/performance.md shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rates import Spread

COLUMNS = ("case", "data", "daglens", "rate / floor's rate", "rate / peer's rate")


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        data: Storage, and how much is in it.
        daglens: The figure with its unit: median (lowest … highest).
        of_floor: Its rate, as part of the floor's in the same run. Where processor time is measured, the rate is what
            could be done in a second of it.
        times_peer: Its rate, as multiple of the peer's, for memory the peer's over its own; None where the peer has no
            such case, or isn't there.
    """

    case: str
    data: str
    daglens: str
    of_floor: Spread | None = None
    times_peer: Spread | None = None

    def cells(self) -> tuple[str, ...]:
        """What stands in the columns."""
        floor = self.of_floor.text("{:.2f}") if self.of_floor is not None else "–"
        peer = self.times_peer.text("{:.1f}") if self.times_peer is not None else "–"
        return self.case, self.data, self.daglens, floor, peer


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table, the first two its head."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for row in rows:
        yield f"| {' | '.join(row.cells())} |"
