"""JSON of large requests is read without holding up the event loop."""

from __future__ import annotations

from contextlib import nullcontext
from json import JSONDecoder, scanner
from typing import Any, Final

from daglens.resolvers.threads import Threads
from daglens.schema.large_input import LARGE_BYTES
from daglens.server.connections import Connection
from daglens.server.graphql_request import DECODER, parse_json

_MANY_VALUES: Final = 100_000
"""Python's own reader, which is written in C, takes 5 to 20 ms for so many, and lets nobody else go on meanwhile, in
whatever thread: 0.15 s for 16 MiB of events, and 1 s for 16 MiB of brackets."""

threads: Final = Threads(1, "daglens-large-json")


class _InPython(JSONDecoder):
    """Reads the same by functions of Python: ten times as slow, in steps between which the event loop has its turn."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]


_STEP_BY_STEP: Final = _InPython(parse_constant=DECODER.parse_constant)


async def parsed_json(text: str | bytes, what: str, connection: Connection | None = None) -> Any:
    """A JSON value; see `parse_json`. What is read in a thread is one at a time of each client: who sends much of it
    makes nobody else wait for more than one.

    Raises:
        BadRequest
    """
    if len(text) <= LARGE_BYTES or _most_values(text) <= _MANY_VALUES:
        return parse_json(text, what)
    async with nullcontext() if connection is None else connection.turn():
        return await threads.carry_out(lambda given: parse_json(given, what, _STEP_BY_STEP), text)


def _most_values(text: str | bytes) -> int:
    """More than there can be: signs in strings count as well."""
    if isinstance(text, bytes):
        return text.count(b",") + text.count(b"[") + text.count(b"{")
    return text.count(",") + text.count("[") + text.count("{")
