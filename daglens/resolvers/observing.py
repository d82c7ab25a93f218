"""What happens while operations are answered, told to whoever measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from daglens.storage.records import EventRecord

S = TypeVar("S")
T = TypeVar("T")


class Observer:
    """Is told, on the server's event loop. This one measures nothing; a server puts its own in the place of it."""

    def storage_call(self, section: str, call: Callable[[S], T]) -> AbstractContextManager[Callable[[S], T]]:
        """Around one call of a storage, the wait for a free thread included; what is given is called in its place."""
        return nullcontext(call)

    def events_read(self, events: Sequence[EventRecord]) -> None:
        """A feed has read events that it had not read before."""

    def error(self, code: Any, error_id: Any) -> None:
        """An operation's answer has this entry in its `errors[]`."""


SILENT = Observer()
