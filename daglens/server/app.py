"""The application: its routes, what stands before them, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from daglens.server.access import AccessMiddleware
from daglens.server.answers import refusal
from daglens.server.connections import ConnectionLimit
from daglens.server.cut_off import CutOff
from daglens.server.downloads import Downloads
from daglens.server.gate import GateMiddleware
from daglens.server.gatekeeping import forwarders
from daglens.server.graphiql_page import GraphiQLPage
from daglens.server.health import Readiness, healthz
from daglens.server.http import GraphQLOverHTTP
from daglens.server.login import LoginPage
from daglens.server.retention_loop import Keeper, carry_out
from daglens.server.rules import check_rules
from daglens.server.security_headers import SECURITY_HEADERS, SecurityHeaders
from daglens.server.served import Served
from daglens.server.settings import ServerSettings
from daglens.server.telemetry.middleware import TelemetryMiddleware
from daglens.server.telemetry.neighbours import Neighbours
from daglens.server.telemetry.request import request_of
from daglens.server.telemetry.route import MetricsPage
from daglens.server.upkeep_loop import keep_up
from daglens.server.websocket import serve_socket

if TYPE_CHECKING:
    from daglens.instance import Instance

log = logging.getLogger("daglens.server")


def create_app(
    instance: Instance, settings: ServerSettings | None = None, *, neighbours: Neighbours | None = None
) -> Starlette:
    """The application that serves an instance; `app.state.served` is what its routes share. `neighbours`: those that
    `/metrics` tells of as well.

    The instance stays the caller's to close. The application does its upkeep while its lifespan runs.

    Raises:
        InvalidTokens, InvalidServerSetting: Who gets in can't be told by these settings.
        RouteWithoutRule
    """
    settings = settings or ServerSettings.of(instance.settings)
    served = Served(instance, settings)
    graphql = GraphQLOverHTTP(served)

    async def socket(websocket: WebSocket) -> None:
        await serve_socket(served, websocket)

    async def sdl(request: Request) -> Response:
        return Response(served.schema.as_str() + "\n", media_type="text/plain; charset=utf-8")

    app = Starlette(
        routes=[
            Route("/graphql", graphql.answer, methods=["GET", "POST"]),
            WebSocketRoute("/graphql", socket),
            Route("/schema.graphql", sdl),
            Route("/healthz", healthz),
            Route("/readyz", Readiness(served).answer),
            Route("/metrics", MetricsPage(served.telemetry, neighbours).answer),
            *GraphiQLPage(served).routes(),
            *LoginPage(served).routes(),
            _Below("/runs/", Downloads(served).answer),
        ],
        middleware=[
            Middleware(TelemetryMiddleware, telemetry=served.telemetry),
            Middleware(SecurityHeaders),
            Middleware(CutOff, stopping=served.stopping),
            Middleware(
                AccessMiddleware,
                allowed_hosts=settings.allowed_hosts,
                allowed_origins=settings.allowed_origins,
                path_prefix=settings.path_prefix,
            ),
            *_cors(settings),
            Middleware(GateMiddleware, gate=served.gate),
            # Behind the gate, which knows who asks.
            Middleware(ConnectionLimit, clients=served.clients, proxies=forwarders(instance, settings)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=_lifespan(served, neighbours),
    )
    app.router.redirect_slashes = False
    app.state.served = served
    check_rules(app.routes)
    return app


def _cors(settings: ServerSettings) -> list[Middleware]:
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in settings.allowed_origins],
            allow_methods=["GET", "POST"],
            allow_headers=[
                *("content-type", "authorization", "range", "last-event-id"),
                *("x-request-id", "traceparent", "tracestate"),
            ],
            expose_headers=["content-range", "accept-ranges", "x-request-id"],
        )
    ]


def _lifespan(
    served: Served, neighbours: Neighbours | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tasks = set() if served.settings.read_only else _upkeep(served)
        try:
            async with nullcontext() if neighbours is None else neighbours.told(served.telemetry.text):
                yield
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            await served.close()

    return lifespan


def _upkeep(served: Served) -> set[asyncio.Task[None]]:
    """What a server that may write does beside answering, as tasks."""
    instance, settings, metrics = served.instance, served.settings, served.telemetry.metrics
    tasks = {asyncio.create_task(keep_up(instance, settings.upkeep_s, metrics), name="daglens-upkeep")}
    retention = instance.settings.retention
    if retention.older_than_days is not None:
        keeper = Keeper(instance, retention, metrics=metrics)
        tasks.add(asyncio.create_task(carry_out(keeper, settings.retention_s), name="daglens-retention"))
    return tasks


class _Below(BaseRoute):
    """Everything below a path, whatever stands there: what is data in it has no pattern."""

    def __init__(self, prefix: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self.path = f"{prefix}*"
        self._prefix = prefix
        self._endpoint = endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See BaseRoute."""
        below = scope["type"] == "http" and scope["path"].startswith(scope.get("root_path", "") + self._prefix)
        return (Match.FULL if below else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        if scope["method"] not in ("GET", "HEAD"):
            answer = refusal(405, "METHOD_NOT_ALLOWED", "There is only GET here.", headers={"allow": "GET, HEAD"})
        else:
            answer = await self._endpoint(Request(scope, receive))
        await answer(scope, receive, send)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and request.scope["path"] == request.scope.get("root_path"):
        return RedirectResponse(f"{request.scope['root_path']}/")
    code, message = {
        404: ("NOT_FOUND", "There is nothing at this address."),
        405: ("METHOD_NOT_ALLOWED", "This address doesn't take that method."),
    }.get(error.status_code, ("BAD_REQUEST", error.detail))
    return refusal(error.status_code, code, message, headers=error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    error_id = str(uuid4())
    log.error("errorId %s: %s %s", error_id, request.method, request.url.path)
    # What answers a bug stands before every middleware.
    return refusal(
        500,
        "INTERNAL",
        f"Something went wrong in the server; its log has the details: errorId {error_id}.",
        headers={**SECURITY_HEADERS, **_request_id(request)},
        error_id=error_id,
    )


def _request_id(request: Request) -> dict[str, str]:
    record = request_of(request.scope)
    return {} if record is None else {"x-request-id": record.id}
