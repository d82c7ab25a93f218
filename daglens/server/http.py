"""GraphQL over HTTP: POST and GET on `/graphql`, as the specification of that name says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from daglens.access import Unauthenticated
from daglens.resolvers.live import LiveHub
from daglens.schema.large_input import LARGE_BYTES
from daglens.server.answers import JSON_TYPE, refusal
from daglens.server.connected import gone
from daglens.server.connections import TooManyBytes, connection_of
from daglens.server.gate import unknown
from daglens.server.graphql_request import BadRequest, GraphQLRequest, parse_json
from daglens.server.large_json import parsed_json
from daglens.server.results import AnswerTooLarge, body_of, is_rejected, payload_of
from daglens.server.served import Served
from daglens.server.sse import EVENT_STREAM_TYPE, EventStream

GRAPHQL_TYPE = "application/graphql-response+json; charset=utf-8"

_STREAMS = {"text/event-stream": EVENT_STREAM_TYPE}
_OFFERED = {
    "application/graphql-response+json": GRAPHQL_TYPE,
    "application/json": JSON_TYPE,
    "application/*": JSON_TYPE,
    "*/*": JSON_TYPE,
    **_STREAMS,
}
_READING = frozenset({OperationType.QUERY})
_WRITING = frozenset({OperationType.QUERY, OperationType.MUTATION})


class GraphQLOverHTTP:
    """The endpoint of one server."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def answer(self, request: Request) -> Response:
        """Answer one request; nothing a client sends makes it raise."""
        accept = request.headers.get("accept", "")
        if request.method in ("GET", "HEAD") and "query" not in request.query_params and "text/html" in accept:
            # Somebody has opened the endpoint in a browser: show what can be done with it.
            return RedirectResponse(f"{request.scope.get('root_path', '')}/graphiql", 303)
        media_type = negotiated(accept)
        if media_type is None:
            return refusal(
                406,
                "NOT_ACCEPTABLE",
                "Answers are application/json, application/graphql-response+json or text/event-stream.",
            )
        try:
            operation = self._served.documents.checked(await self._read(request))
            if media_type == EVENT_STREAM_TYPE:
                return EventStream(self._served, request, operation)
            return await self._execute(request, operation, media_type)
        except BadRequest as error:
            headers = {"allow": "POST"} if error.status == 405 else {}
            told_as = JSON_TYPE if media_type == EVENT_STREAM_TYPE else media_type
            return refusal(
                error.status, error.told_code, error.hint, headers=headers, media_type=told_as, told=error.told
            )
        except TooManyBytes as error:
            told_as = JSON_TYPE if media_type == EVENT_STREAM_TYPE else media_type
            return refusal(error.status, error.code, str(error), headers={"retry-after": "1"}, media_type=told_as)
        except Unauthenticated as error:
            # The token has ended while the body was under way.
            return unknown(request.scope, error)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _read(self, request: Request) -> GraphQLRequest:
        if request.method != "POST":
            connection_of(request.scope).hold(len(request.scope["query_string"]))
            return GraphQLRequest.read_query_string(request.query_params)
        content_type, _, parameters = request.headers.get("content-type", "").partition(";")
        if content_type.strip().lower() != "application/json":
            # Also what keeps other sites' forms out: a browser asks before it sends JSON to another origin.
            raise BadRequest("Send the request as application/json.", status=415, code="UNSUPPORTED_MEDIA_TYPE")
        charset = parameters.strip().lower().removeprefix("charset=").strip('"')
        if charset not in ("", "utf-8", "utf8"):
            raise BadRequest("Send the request in UTF-8.", status=415, code="UNSUPPORTED_MEDIA_TYPE")
        body = await self._body(request)
        if len(body) <= LARGE_BYTES:
            value = parse_json(body, "The body")
        else:
            value = await parsed_json(body, "The body", connection_of(request.scope))
        return GraphQLRequest.read(value, len(body))

    async def _body(self, request: Request) -> bytes:
        most = self._served.settings.limits.max_body_bytes
        body = bytearray()
        connection = connection_of(request.scope)
        async for part in request.stream():
            body += part
            if 0 < most < len(body):
                hint = f"The body is larger than {most:,} bytes: send less at once, e.g. fewer events in one mutation."
                raise BadRequest(hint, status=413, code="BODY_TOO_LARGE", limit=most)
            if part:
                # Given back when the request has been answered, or its stream has ended.
                connection.hold(len(part))
        return bytes(body)

    async def _execute(self, request: Request, operation: GraphQLRequest, media_type: str) -> Response:
        hub = _WhileConnected(self._served.hub, request)
        context = self._served.context(request.scope, cast(LiveHub, hub))
        posted = request.method == "POST"
        try:
            result = await self._served.schema.execute(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                operation_name=operation.operation_name,
                operation_extensions=operation.extensions,
                allowed_operation_types=_WRITING if posted else _READING,
            )
        except CannotGetOperationTypeError:
            raise BadRequest("The document has no such operation.") from None
        except MissingQueryError:
            raise BadRequest("`query` holds no document.") from None
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION:
                if negotiated(request.headers.get("accept", ""), _STREAMS) is not None:
                    # A client that takes either of them, and names the stream behind JSON.
                    return EventStream(self._served, request, operation)
                raise BadRequest(
                    "Subscriptions are served at this address over a WebSocket, or with `Accept: text/event-stream`."
                ) from None
            raise BadRequest("Send mutations by POST.", status=405, code="METHOD_NOT_ALLOWED") from None
        return _response(result, media_type, self._served.settings.limits.max_answer_bytes)


class _WhileConnected:
    """The hub, for one request: its wait ends when the client has gone."""

    def __init__(self, hub: LiveHub, request: Request) -> None:
        self.run_events = hub.run_events
        self.compute_log = hub.compute_log
        self._hub = hub
        self._request = request

    async def wait_for_events(self, run_id: str, after_seq: int, timeout_s: float) -> bool:
        """See LiveHub; False also when the client has gone."""
        waiting = asyncio.ensure_future(self._hub.wait_for_events(run_id, after_seq, timeout_s))
        leaving = asyncio.ensure_future(gone(self._request.receive))
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done() and waiting.result()
        finally:
            for task in (waiting, leaving):
                task.cancel()
            await asyncio.gather(waiting, leaving, return_exceptions=True)


def _response(result: Any, media_type: str, most_bytes: int) -> Response:
    body = payload_of(result)
    rejected = media_type == GRAPHQL_TYPE and is_rejected(body)
    if rejected:
        del body["data"]
    status = 400 if rejected else 200
    try:
        content = body_of(body, most_bytes)
    except AnswerTooLarge as error:
        content = error.body()
    return Response(content, status, {"content-type": media_type, "cache-control": "no-store"})


def negotiated(accept: str, offered: Mapping[str, str] = _OFFERED) -> str | None:
    """The content type that an Accept header asks for; None when we have none of those it names.

    Without preference it is application/json, which every client reads.
    """
    best, best_weight = None, 0.0
    for entry in accept.lower().split(",") if accept.strip() else ["*/*"]:
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        found = offered.get(name)
        if found is not None and weight > best_weight:
            best, best_weight = found, weight
    return best
