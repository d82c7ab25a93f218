"""The few words in which SQL databases differ here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Dialect(Protocol):
    """How a database says it. Parameters are written `:name`."""

    look_up: str
    """A join that walks the left side and looks up the right one, in the order given."""

    plans_by_cost: bool
    """The planner weighs indexes and joins against each other by its statistics. Then every part of a statement is
    ordered and limited, so that only the walk that is meant is cheap."""

    def any_of(self, column: str, parameter: str) -> str:
        """A condition: `column` is one of the values in one parameter."""
        ...

    def values(self, texts: Sequence[str]) -> Any:
        """The value of that one parameter."""
        ...

    def table(self, name: str) -> str:
        """A table of ours in a FROM."""
        ...

    def tag_value_is(self, parameter: str) -> str:
        """A condition on `t`, a row of `run_tags`, that an index can be walked by: its value."""
        ...

    def run_has_tag(self, name: str, *, with_value: bool) -> str:
        """A condition on `r`, a row of `runs`: it has a tag with the key `:<name>_key`; and `:<name>_value`."""
        ...

    def filter_only(self, column: str) -> str:
        """`column`, written so that no index is chosen for it."""
        ...
