"""GraphQL over one WebSocket: any number of operations, each in a task of its own that ends with the socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from daglens.access import Unauthenticated
from daglens.server.admission import AuthenticatorFailed, admission_of
from daglens.server.answers import NOTHING, json_bytes, note_refusal
from daglens.server.connections import (
    Connection,
    TooManyBytes,
    TooManyConnections,
    connection_of,
    count_as_admitted,
)
from daglens.server.dialects import Dialect, chosen
from daglens.server.graphql_request import BadRequest, GraphQLRequest
from daglens.server.large_json import parsed_json
from daglens.server.pushing import PUSH
from daglens.server.served import Served
from daglens.server.shared_walk import Push
from daglens.storage.names import clean_text

log = logging.getLogger("daglens.server")

TRY_AGAIN_LATER = 1013
BAD_MESSAGE = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
UNACCEPTABLE_PROTOCOL = 4406
INIT_TIMEOUT = 4408
DUPLICATE_ID = 4409
TOO_MANY_INITS = 4429
_REASON_BYTES = 123  # what a close frame has room for
_WHO = 'No token, or none known here: send {"Authorization": "Bearer TOKEN"} as the payload of connection_init'
"""The error's own sentence is longer than a close frame: what to do would be cut off."""
_MOST_INIT_CHARS = 65_536
"""Of a message from somebody who isn't known yet: reading one of `max_body_bytes` holds up everybody for some 0.1 s."""


class _Closing(Exception):
    """The socket is to be closed with a code and a reason; the server's log and metrics know it as `refusal`."""

    def __init__(self, code: int, reason: str, refusal: str | None = BadRequest.code) -> None:
        super().__init__(reason)
        self.code = code
        self.refusal = refusal
        self.error_id = ""
        # The reason may quote what the client sent, halves of surrogate pairs included.
        self.reason = clean_text(reason).encode()[:_REASON_BYTES].decode(errors="ignore")

    def note(self, scope: Scope) -> None:
        """Have it logged and counted, once."""
        if self.refusal is not None and not self.error_id:
            how = f"the socket is closed with {self.code}: {self.reason!r}"
            self.error_id = note_refusal(scope, self.refusal, how)


async def serve_socket(served: Served, websocket: WebSocket) -> None:
    """Speak with one client until either side ends it. Nothing a client sends makes it raise."""
    dialect = chosen(websocket.scope.get("subprotocols", ()))
    await websocket.accept(dialect.subprotocol if dialect is not None else None)
    if dialect is None:
        closing = _Closing(UNACCEPTABLE_PROTOCOL, "Subprotocol not acceptable")
        closing.note(websocket.scope)
        await websocket.close(closing.code, closing.reason)
        return
    socket = _Socket(served, websocket, dialect)
    try:
        await socket.speak()
    except _Closing as closing:
        closing.note(websocket.scope)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(closing.code, closing.reason)
    except WebSocketDisconnect:
        pass
    finally:
        await socket.end()


class _Socket:
    """What is going on over one socket."""

    def __init__(self, served: Served, websocket: WebSocket, dialect: Dialect) -> None:
        self._served = served
        self._websocket = websocket
        self._dialect = dialect
        self._initialised = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._connection = connection_of(websocket.scope)
        self._unclaimed = 0
        """Bytes of the message that is looked at, as long as no operation holds them."""

    async def speak(self) -> None:
        """Take messages until the client goes.

        Raises:
            WebSocketDisconnect: The client has gone.
            _Closing: It said something that ends the conversation.
        """
        try:
            async with asyncio.timeout(self._served.settings.init_timeout_s) as timeout:
                while True:
                    await self._hear(await self._receive())
                    if self._initialised:
                        timeout.reschedule(None)
        except TimeoutError:
            raise _Closing(INIT_TIMEOUT, "Connection initialisation timeout") from None

    async def end(self) -> None:
        """End every operation and wait until they have ended."""
        for task in self._operations.values():
            task.cancel()
        if tasks := {*self._operations.values(), *self._ending}:
            await asyncio.wait(tasks)

    async def _receive(self) -> str:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        text: str | None = message.get("text")
        if text is None:
            raise _Closing(BAD_MESSAGE, "Messages must be text")
        if not self._initialised and len(text) > _MOST_INIT_CHARS:
            raise _Closing(BAD_MESSAGE, f"Until connection_init a message has at most {_MOST_INIT_CHARS:,} characters")
        return text

    async def _hear(self, text: str) -> None:
        """Take one message. Its bytes count as long as it is looked at, or the operation goes on that it begins."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        try:
            self._connection.hold(size)
        except TooManyBytes as error:
            message = await _message_of(text, self._connection)
            id = message.get("id")
            if not self._initialised or message["type"] != self._dialect.start or not isinstance(id, str):
                raise _Closing(TRY_AGAIN_LATER, f"{error.code}: {error}", error.code) from None
            # It isn't counted: of what may wait long until it is sent, it is no part.
            del message, text
            await self._refuse(id, error.code, str(error))
            return
        self._unclaimed = size
        try:
            await self._take(await _message_of(text, self._connection))
        finally:
            self._connection.release(self._unclaimed)
            self._unclaimed = 0

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "connection_init":
            await self._initialise(message.get("payload"))
        elif kind == self._dialect.start:
            await self._start(_id_of(message), message.get("payload"))
        elif kind == self._dialect.stop:
            self._stop(_id_of(message))
        elif self._dialect.is_legacy:
            if kind == "connection_terminate":
                raise _Closing(1000, "", None)
        elif kind == "ping":
            payload = message.get("payload")
            try:
                await self._send({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})
            except RecursionError:
                # What can just be read may be too deep to be written.
                raise _Closing(BAD_MESSAGE, "The payload is nested too deeply") from None
        elif kind != "pong":
            raise _Closing(BAD_MESSAGE, f"Unknown message type: {kind}")

    async def _initialise(self, payload: Any) -> None:
        if payload is not None and not isinstance(payload, dict):
            raise _Closing(BAD_MESSAGE, "The payload of connection_init must be an object or null")
        if self._initialised:
            # On the older protocol too: what was begun for one token must end with it, and not with a later one.
            raise _Closing(TOO_MANY_INITS, "Too many initialisation requests")
        await self._admit(payload or {})
        self._initialised = True
        await self._send({"type": "connection_ack"})

    async def _admit(self, payload: dict[str, Any]) -> None:
        admission = admission_of(self._websocket.scope)
        try:
            await admission.enter(payload)
        except AuthenticatorFailed as error:
            raise _Closing(TRY_AGAIN_LATER, str(error), error.code) from None
        except Unauthenticated as error:
            closing = _Closing(FORBIDDEN if admission.was_asked else UNAUTHORIZED, _WHO, error.code)
            if self._dialect.is_legacy:
                closing.note(self._websocket.scope)
                told = {"message": str(error), "code": error.code, "errorId": closing.error_id}
                await self._send({"type": "connection_error", "payload": told})
            raise closing from None
        try:
            count_as_admitted(self._websocket.scope)
        except TooManyConnections as error:
            raise _Closing(TRY_AGAIN_LATER, f"{error.code}: {error}", error.code) from None

    async def _start(self, id: str, payload: Any) -> None:
        if not self._initialised:
            raise _Closing(UNAUTHORIZED, "Unauthorized: send connection_init first", Unauthenticated.code)
        try:
            _ = admission_of(self._websocket.scope).admitted
        except Unauthenticated:
            raise _Closing(FORBIDDEN, "The token has ended", Unauthenticated.code) from None
        if id in self._operations:
            if not self._dialect.is_legacy:
                raise _Closing(DUPLICATE_ID, f"Subscriber for {id} already exists")
            self._stop(id)
        most = self._served.settings.limits.max_operations
        # Those that are ending count as well, if less: whoever begins and stops in turns, and doesn't read, has many.
        if most and max(len(self._operations), (len(self._operations) + len(self._ending)) // 2) >= most:
            message = f"At most {most:,} operations may be open on one socket. Complete some, or open another socket."
            await self._refuse(id, "TOO_MANY_OPERATIONS", message, {"limit": most})
            return
        try:
            operation = self._served.documents.checked(GraphQLRequest.read(payload, self._unclaimed))
        except BadRequest as error:
            await self._refuse(id, error.told_code, error.hint, error.told)
            return
        task = asyncio.create_task(self._operate(id, operation), name=f"daglens-operation {id}")
        self._operations[id] = task
        size, self._unclaimed = self._unclaimed, 0
        task.add_done_callback(self._forget(id, size))

    def _forget(self, id: str, size: int) -> Callable[[asyncio.Task[None]], None]:
        def forget(task: asyncio.Task[None]) -> None:
            self._connection.release(size)
            self._ending.discard(task)
            if self._operations.get(id) is task:
                del self._operations[id]
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("An operation over a WebSocket ended", exc_info=error)

        return forget

    def _stop(self, id: str) -> None:
        # The id is free at once; the task may take until a storage has answered.
        task = self._operations.pop(id, None)
        if task is not None:
            self._ending.add(task)
            task.cancel()

    async def _operate(self, id: str, operation: GraphQLRequest) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            try:
                context = self._served.context(self._websocket.scope)
            except Unauthenticated as ended:
                # The token has ended since this was asked for. The gate closes the socket in this message's place.
                await self._refuse(id, ended.code, str(ended))
                return
            head = f'{{"type":"{self._dialect.result}","id":{json_bytes(id).decode()},"payload":'.encode()
            push = self._pusher(head)
            async with contextlib.aclosing(self._served.results.of(operation, context, push)) as results:
                async for result in results:
                    if result.refusal is not None:
                        error = self._dialect.error_payload(result.refusal)
                        await self._finish(id, {"type": "error", "payload": error})
                        return
                    await self._send_text(f"{head.decode()}{result.body.decode()}}}")
            await self._finish(id, {"type": "complete"})

    def _pusher(self, head: bytes) -> Push | None:
        """Sends a result at once, where this server can and the client has read what went before."""
        push: Push | None = self._websocket.scope.get("extensions", {}).get(PUSH)
        if push is None:
            return None
        return lambda body: push(b"".join((head, body, b"}")))

    async def _refuse(self, id: str, code: str, message: str, told: Mapping[str, object] = NOTHING) -> None:
        error_id = str(uuid4())
        self._served.telemetry.error(code, error_id)
        log.info("errorId %s: %s: %s", error_id, code, message)
        error = {"message": message, "extensions": {**told, "code": code, "errorId": error_id}}
        await self._send({"type": "error", "id": id, "payload": self._dialect.error_payload([error])})

    async def _finish(self, id: str, message: dict[str, Any]) -> None:
        # Before the last message goes out, so that the client can use the id again at once.
        if self._operations.get(id) is asyncio.current_task():
            del self._operations[id]
            self._ending.add(asyncio.current_task())  # type: ignore[arg-type]
        await self._send({"id": id, **message})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_text(json_bytes(message).decode())

    async def _send_text(self, text: str) -> None:
        # One at a time, and no sooner than the one before has left: a client that doesn't read stops its feeds here,
        # which then hold no more than their cursor and one batch.
        async with self._sending:
            if self._websocket.application_state is not WebSocketState.CONNECTED:
                raise WebSocketDisconnect(1006)
            await self._websocket.send_text(text)


async def _message_of(text: str, connection: Connection) -> dict[str, Any]:
    try:
        value = await parsed_json(text, "The message", connection)
    except BadRequest as error:
        raise _Closing(BAD_MESSAGE, error.hint) from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise _Closing(BAD_MESSAGE, "A message is a JSON object with a `type`")
    return value


def _id_of(message: dict[str, Any]) -> str:
    id = message.get("id")
    if not isinstance(id, str) or not id:
        raise _Closing(BAD_MESSAGE, "The message needs an `id`")
    return id
