"""Results of operations as text, for whatever transport carries them; subscriptions that many send are shared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from daglens.resolvers.context import RequestContext
from daglens.resolvers.live import EventBatch, LiveHub, Viewer
from daglens.schema.large_input import LargeVariables
from daglens.schema.shareable import Shareable, shareable
from daglens.server.graphql_request import GraphQLRequest
from daglens.server.handed_hub import Asked, HandedHub, cursor_of
from daglens.server.results import AnswerTooLarge, body_of, is_rejected, payload_of
from daglens.server.shared_operation import Item, SharedOperation, Texts, stream_of
from daglens.server.shared_walk import Feed, Push

if TYPE_CHECKING:
    from strawberry import Schema

SHARED_BYTES = 16 * 1024 * 1024
"""Bound of all ready-made results of a server."""


class Result(NamedTuple):
    """One result of an operation.

    Attributes:
        body: JSON, with `data`, `errors` and `extensions` as they are.
        cursor: Of a subscription, where to go on behind it, selected or not; None where there is no such place.
        refusal: The errors, when nothing was executed at all: then this is the only result.
        is_last: The operation was ended here: what came next could not be sent.
    """

    body: bytes
    cursor: str | None = None
    refusal: list[dict[str, Any]] | None = None
    is_last: bool = False


class LiveResults:
    """Executes the operations of one server.

    A subscription of one plain field is executed once per batch for all who send the same document, operation and
    variables with the same rights; `after` may differ. Every other operation, and every error, goes its own way.
    """

    def __init__(self, schema: Callable[[], Schema], shared_bytes: int = SHARED_BYTES, *, most_bytes: int = 0) -> None:
        """`schema`: what an operation that begins now is executed by. `most_bytes`: of one result; 0: of any size."""
        self._most_bytes = most_bytes
        self._schema = schema
        self._shared: dict[Hashable, SharedOperation] = {}
        self._texts = Texts(shared_bytes)
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def shared(self) -> list[SharedOperation]:
        """The operations that are shared now."""
        return list(self._shared.values())

    @property
    def texts(self) -> Texts:
        """The ready-made texts."""
        return self._texts

    async def of(
        self, operation: GraphQLRequest, context: RequestContext, push: Push | None = None
    ) -> AsyncGenerator[Result, None]:
        """The results; close the generator when done.

        `push`: a viewer who has kept up is sent what follows by it, while the generator waits to be asked for more.
        """
        # Of large variables a key of theirs would take long to make.
        is_large = isinstance(operation.variables, LargeVariables)
        how = None if is_large else shareable(operation.query, operation.operation_name)
        after = _after(operation, how) if how is not None else None
        if how is not None and isinstance(after, str | None):
            key = _key(operation, how, context)
            shared = self._join(key, operation, context)
            try:
                asked = await shared.asked()
                if asked is not None:
                    begin = context.place(asked.after if how.after_given else after)
                    viewing = _Viewing(shared, asked, context.live(), begin, push)
                    async with aclosing(self._carried(viewing, operation, context)) as results:
                        async for result in results:
                            yield result
                    return
            finally:
                self._leave(key, shared)
        async with aclosing(self._alone(operation, context, None)) as results:
            async for result in results:
                yield result

    async def close(self) -> None:
        """End what is shared. To be called when the hub has been closed."""
        for key, shared in list(self._shared.items()):
            self._end(key, shared)
        if self._ending:
            await asyncio.wait(self._ending)

    # ------------------------------------------------------------ one for all

    async def _carried(
        self, viewing: _Viewing, operation: GraphQLRequest, context: RequestContext
    ) -> AsyncGenerator[Result, None]:
        """What one viewer is given: its own walk, with the bodies that all share."""
        first = True
        try:
            async with aclosing(viewing.feed()) as items:
                async for item in items:
                    cursor = cursor_of(item)
                    body = await viewing.shared.body(item)
                    if body is not None:
                        yield Result(body, cursor)
                    else:
                        result = await self._of_item(item, operation, context)
                        yield result
                        if result.is_last:
                            return
                    first = False
                    place = item.through_seq if isinstance(item, EventBatch) and item.caught_up else None
                    del item, body
                    if place is not None and cursor is not None and await viewing.was_read_for(place, cursor):
                        return
        except Exception as error:
            hub = HandedHub()
            hub.hand(error)
            async with aclosing(self._alone(operation, context, hub, first=first)) as results:
                async for result in results:
                    yield result

    async def _of_item(self, item: Item, operation: GraphQLRequest, context: RequestContext) -> Result:
        hub = HandedHub()
        hub.hand(item)
        async with aclosing(self._alone(operation, context, hub, first=False)) as results:
            result = await anext(results)
            return result if result.is_last else result._replace(cursor=cursor_of(item))

    def _join(self, key: Hashable, operation: GraphQLRequest, context: RequestContext) -> SharedOperation:
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = SharedOperation(
                self._schema(), operation, context, self._texts, most_bytes=self._most_bytes
            )
        shared.viewers += 1
        return shared

    def _leave(self, key: Hashable, shared: SharedOperation) -> None:
        shared.viewers -= 1
        if not shared.viewers and self._shared.get(key) is shared:
            self._end(key, shared)

    def _end(self, key: Hashable, shared: SharedOperation) -> None:
        del self._shared[key]
        task = asyncio.create_task(shared.close(), name="daglens-shared ending")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # ------------------------------------------------------------ each for itself

    async def _alone(
        self, operation: GraphQLRequest, context: RequestContext, hub: HandedHub | None, *, first: bool = True
    ) -> AsyncGenerator[Result, None]:
        stream = await stream_of(self._schema(), operation, context, hub)
        async with aclosing(stream):
            async for result in stream:
                payload = payload_of(result)
                refusal = payload["errors"] if first and is_rejected(payload) else None
                first = False
                try:
                    body = body_of(payload, self._most_bytes)
                except AnswerTooLarge as error:
                    # Without a cursor: what was left out is behind it.
                    yield Result(error.body(), is_last=True)
                    return
                yield Result(body, context.cursor, refusal)


class _Viewing:
    """One viewer of a shared operation."""

    def __init__(
        self, shared: SharedOperation, asked: Asked, hub: LiveHub, after: str | None, push: Push | None
    ) -> None:
        self.shared = shared
        self._asked = asked
        self._hub = hub
        self._after = after
        self._push = push
        self._viewer = Viewer()

    def feed(self) -> AsyncGenerator[Any, None]:
        """Its own walk."""
        if self._asked.feed == "run_events":
            return self._hub.run_events(**self._asked.arguments, after=self._after, viewer=self._viewer)
        return self._hub.compute_log(**self._asked.arguments, after=self._after)

    async def was_read_for(self, place: int, cursor: str) -> bool:
        """Let others read for it, while it keeps up and is not the only one; True when that came to the feed's end."""
        if self._push is None or self.shared.viewers < 2:
            return False

        def read(viewer: Viewer) -> Feed:
            return self._hub.run_events(**self._asked.arguments, after=cursor, viewer=viewer)

        return await self.shared.walk.follow(place, self._viewer, self._push, read)


def _after(operation: GraphQLRequest, how: Shareable) -> Any:
    """The cursor that a viewer gives in its variables."""
    return None if how.after_variable is None else (operation.variables or {}).get(how.after_variable)


def _key(operation: GraphQLRequest, how: Shareable, context: RequestContext) -> Hashable:
    """Equal for those who get the same messages."""
    variables = {name: value for name, value in (operation.variables or {}).items() if name != how.after_variable}
    rest = json.dumps([variables, operation.extensions], sort_keys=True)
    return (operation.query, operation.operation_name, rest, context.url_prefix, context.rights)
