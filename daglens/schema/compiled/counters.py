"""How many lists took which way, since the process began."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """Lists completed in this process. Empty lists and lists inside of counted ones aren't counted.

    Attributes:
        fast: By a plan. `mixed` of them had fields (with arguments, with resolvers) that graphql-core completed.
        fallen_back: By graphql-core, after the plan had met a value that it doesn't write.
        ineligible: By graphql-core, since there is no plan for what is selected.
        plans: Plans made. One that grows with the requests says that documents are not repeated.
    """

    fast: int = 0
    mixed: int = 0
    fallen_back: int = 0
    ineligible: int = 0
    plans: int = 0


class Tally:
    """The counters while they count."""

    __slots__ = ("fallen_back", "fast", "ineligible", "mixed", "plans")

    def __init__(self) -> None:
        self.fast = self.mixed = self.fallen_back = self.ineligible = self.plans = 0

    def counters(self) -> Counters:
        """What was counted up to now."""
        return Counters(self.fast, self.mixed, self.fallen_back, self.ineligible, self.plans)


TALLY = Tally()


def counters() -> Counters:
    """What was counted in this process up to now."""
    return TALLY.counters()
