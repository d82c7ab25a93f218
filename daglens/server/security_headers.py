"""Headers that keep a browser from doing with an answer what it isn't meant for."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final = {
    # JSON, logs and files are never run, whatever they hold.
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Pages say more of what they load (graphiql_page.py, login.py); everything else loads nothing.
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}
HSTS: Final = "max-age=31536000"
"""Said over TLS only; without sub-domains, which may be others'."""


class SecurityHeaders:
    """Adds them to every answer, where the route hasn't said otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, and add."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope.get("scheme") == "https":
                    headers.setdefault("strict-transport-security", HSTS)
            await send(message)

        await self._app(scope, receive, add)
