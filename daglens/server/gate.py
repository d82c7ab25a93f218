"""The one check that every request and every socket passes before it reaches a route."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daglens.access import Unauthenticated
from daglens.server.admission import Admission, AuthenticatorFailed, Gate, admit, headers_of, unauthenticated
from daglens.server.answers import JSON_TYPE, note_refusal, refusal, refuse
from daglens.server.pushing import PUSH
from daglens.server.return_address import login_address
from daglens.server.rules import Rule, key_for, rule_of
from daglens.server.telemetry.request import note_route, note_who

log = logging.getLogger("daglens.server")

_GRAPHQL_TYPE = "application/graphql-response+json"
_ENDED = "The token has ended"


class GateMiddleware:
    """Lets in by the rule of the route, and ends feeds whose token has ended."""

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request or socket and hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        admission = admit(self._gate, scope)
        route = key_for(scope["app"].router.routes, scope)
        note_route(scope, route)
        rule = rule_of(route)
        if rule is None:
            log.error("The route at %s has no rule: nobody is let in", scope["path"])
            await refuse(scope, receive, send, refusal(403, "FORBIDDEN", "This address is open to nobody."))
            return
        if rule is Rule.VIEWER:
            try:
                identity = await admission.look()
                if identity is None:
                    raise unauthenticated()
                note_who(scope, identity.name)
            except AuthenticatorFailed as error:
                await refuse(scope, receive, send, refusal(503, error.code, str(error)))
                return
            except Unauthenticated as error:
                await refuse(scope, receive, send, unknown(scope, error))
                return
        if not self._gate.is_open:
            send = _Watched(scope, admission, send)
            extensions = scope.get("extensions") or {}
            if PUSH in extensions:
                scope["extensions"] = {**extensions, PUSH: _pushing(admission, extensions[PUSH])}
        await self._app(scope, receive, send)


def _pushing(admission: Admission, push: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """`push` as long as the token holds. Who isn't pushed to goes on by `send`, which closes the socket."""
    return lambda text: not admission.is_over() and push(text)


class _Watched:
    """Sends as long as the token holds that somebody was let in by; sockets and event streams end with it.

    Other answers are finished: what they hold was asked for while the token held.
    """

    def __init__(self, scope: Scope, admission: Admission, send: Send) -> None:
        self._scope = scope
        self._admission = admission
        self._send = send
        self._is_feed = scope["type"] == "websocket"
        self._has_ended = False

    async def __call__(self, message: Message) -> None:
        """See ASGI."""
        if self._has_ended:
            # Whoever produces without a pause would else never come to hear that it has ended.
            await asyncio.sleep(0)
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._is_feed = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in message.get("headers", ())
            )
        if self._is_feed and kind in _DATA and self._admission.is_over():
            self._has_ended = True
            message = _DATA[kind]
            note_refusal(self._scope, Unauthenticated.code, "a feed ends with the token that it was asked for by")
        await self._send(message)


# What ends a feed in the place of the next piece of it. Both servers' and clients' ends notice: `receive` says so.
_DATA: dict[str, dict[str, Any]] = {
    "websocket.send": {"type": "websocket.close", "code": 4403, "reason": _ENDED},
    "http.response.body": {"type": "http.response.body", "body": b"", "more_body": False},
}


def unknown(scope: Scope, error: Unauthenticated) -> Response:
    """The answer to who isn't known, or no longer."""
    headers = headers_of(scope)
    accept = headers.get("accept", "")
    if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in accept:
        # Somebody has opened an address in a browser.
        return RedirectResponse(login_address(scope), 303, {"cache-control": "no-store"})
    challenge = 'Bearer realm="daglens"' + (', error="invalid_token"' if "authorization" in headers else "")
    return refusal(
        401,
        error.code,
        str(error),
        headers={"www-authenticate": challenge, "cache-control": "no-store"},
        media_type=f"{_GRAPHQL_TYPE}; charset=utf-8" if _GRAPHQL_TYPE in accept else JSON_TYPE,
    )
