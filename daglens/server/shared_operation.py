"""One subscription executed once for all who sent it, whatever place each of them has reached."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from daglens.resolvers.compute_logs import Chunk
from daglens.resolvers.context import RequestContext
from daglens.resolvers.live import EventBatch, LiveHub, RunGone
from daglens.server.graphql_request import GraphQLRequest
from daglens.server.handed_hub import Asked, HandedHub
from daglens.server.results import AnswerTooLarge, body_of, payload_of
from daglens.server.shared_walk import SharedWalk

if TYPE_CHECKING:
    from strawberry import Schema

log = logging.getLogger("daglens.server")

Item = EventBatch | RunGone | Chunk
Key = tuple[object, Hashable]
"""Whose text it is, and of what."""


class Texts:
    """Ready-made results, within a bound of bytes; the one that was not asked for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._texts: OrderedDict[Key, bytes] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def get(self, key: Key) -> bytes | None:
        """The text; None when it is not there, or no longer."""
        text = self._texts.get(key)
        if text is not None:
            self._texts.move_to_end(key)
        return text

    def put(self, key: Key, text: bytes) -> None:
        """Keep a text."""
        self.size_bytes -= len(self._texts.pop(key, b""))
        self._texts[key] = text
        self.size_bytes += len(text)
        while self.size_bytes > self._most_bytes:
            self.size_bytes -= len(self._texts.popitem(last=False)[1])

    def forget_of(self, owner: object) -> None:
        """Drop all texts of an operation."""
        for key in [key for key in self._texts if key[0] is owner]:
            self.size_bytes -= len(self._texts.pop(key))


class SharedOperation:
    """An operation under execution over items that are handed to it, one result for each.

    It goes through the schema as it would for a single viewer, extensions and error handling included; only where it
    would ask the hub, it is given what its viewers have read.

    Attributes:
        viewers: How many are given its results.
        executed: How many items it was executed for.
        walk: Reads for those of its viewers who have kept up.
    """

    def __init__(
        self,
        schema: Schema,
        operation: GraphQLRequest,
        context: RequestContext,
        texts: Texts,
        *,
        most_bytes: int = 0,
    ) -> None:
        self._most_bytes = most_bytes
        self.viewers = 0
        self.executed = 0
        self._texts = texts
        self._hub = HandedHub()
        self._making: dict[Key, list[asyncio.Future[bytes | None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Lock()
        self._broken = False
        self.walk = SharedWalk(self.body)
        self._stream: AsyncGenerator[Any, None] | None = None
        self._first: asyncio.Task[Any] | None = self._task(self._begin(schema, operation, context))

    async def asked(self) -> Asked | None:
        """What the operation asks of the hub; None when it comes to no such question, but to a refusal or an error."""
        first = self._first
        if first is not None and not self._hub.asked.done():
            await asyncio.wait([first, self._hub.asked], return_when=asyncio.FIRST_COMPLETED)
            if first.done() and not first.cancelled():
                first.exception()  # whoever then executes it alone meets it again
        return self._hub.asked.result() if self._hub.asked.done() else None

    def known(self, item: Item) -> bytes | None:
        """The JSON of an item's result, when it is there already."""
        return self._texts.get((self, _key_of(item)))

    async def body(self, item: Item) -> bytes | None:
        """The JSON of an item's result; None when it has errors, which are each viewer's own, or is too large."""
        return self.known(item) or await self._made(item)

    async def _made(self, item: Item) -> bytes | None:
        key = (self, _key_of(item))
        waiting = self._making.get(key)
        if waiting is None:
            waiting = self._making[key] = []
            self._task(self._make(key, item))
        # A future for each: shielding one task for all costs more than the message that is waited for.
        told: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        waiting.append(told)
        return await told

    async def close(self) -> None:
        """End it; its texts are forgotten."""
        await self.walk.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # Of a task that was ended before it began nothing is carried out, not even what stands in `finally`.
        for told in (told for waiting in self._making.values() for told in waiting):
            if not told.done():
                told.set_result(None)
        self._making.clear()
        if self._stream is not None:
            await self._stream.aclose()
        self._texts.forget_of(self)

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name="daglens-shared operation")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _begin(self, schema: Schema, operation: GraphQLRequest, context: RequestContext) -> Any:
        self._stream = await stream_of(schema, operation, context, self._hub)
        return await anext(self._stream)

    async def _make(self, key: Key, item: Item) -> None:
        text = None
        try:
            async with self._turn:
                if not self._broken:
                    text = await self._execute(item)
        except Exception:
            # Its viewers go on, each by an execution of its own, which says what is wrong.
            self._broken = True
            log.exception("A subscription can't be shared any more")
        finally:
            if text is not None and self.viewers > 1:
                self._texts.put(key, text)
            for told in self._making.pop(key):
                if not told.done():
                    told.set_result(text)

    async def _execute(self, item: Item) -> bytes | None:
        assert self._stream is not None
        self.executed += 1
        self._hub.hand(item)
        first, self._first = self._first, None
        result = await (anext(self._stream) if first is None else first)
        if result.errors:
            return None
        try:
            return body_of(payload_of(result), self._most_bytes)
        except AnswerTooLarge:
            return None


async def stream_of(
    schema: Schema, operation: GraphQLRequest, context: RequestContext, hub: HandedHub | None
) -> AsyncGenerator[Any, None]:
    """The results of an operation; over what is handed to `hub`, if there is one."""
    stream = await schema.stream(
        operation.query,
        variable_values=operation.variables,
        context_value=context if hub is None else replace(context, hub=cast(LiveHub, hub), resume_after=None),
        operation_name=operation.operation_name,
        operation_extensions=operation.extensions,
    )
    return cast(AsyncGenerator[Any, None], stream)


def _key_of(item: Item) -> Hashable:
    """Equal for items that one operation answers alike. Of a log, whatever stands between two places is settled."""
    if isinstance(item, EventBatch):
        first_seq = item.events[0].seq if item.events else 0
        return (item.incarnation, first_seq, item.through_seq, item.caught_up, item.run_status)
    if isinstance(item, Chunk):
        return (item.attempt, item.start_byte, item.end_byte, item.has_more, item.complete)
    return item.run_id
