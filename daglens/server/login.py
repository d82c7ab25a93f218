"""`/login`: a browser gives its token once, and keeps it in a cookie that no page can read."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from daglens.access import Credentials, Identity
from daglens.server.admission import COOKIE, AuthenticatorFailed, admission_of
from daglens.server.answers import refusal
from daglens.server.return_address import PARAMETER, return_address
from daglens.server.served import Served

_MAX_FORM_BYTES: Final = 16_384
_PAGE = Path(__file__).parent / "graphiql" / "login.html"
_MARK: Final = re.compile(r"\{\{(\w+)\}\}")
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    # With no-referrer a browser sends `Origin: null` with a form, which is refused.
    "referrer-policy": "same-origin",
}


class LoginPage:
    """Signing in and out. The cookie holds the token itself: it works on every server that knows the token, and ends
    when the token does."""

    def __init__(self, served: Served) -> None:
        self._gate = served.gate

    def routes(self) -> list[BaseRoute]:
        """The page, and what its two forms send."""
        return [
            Route("/login", self.page, methods=["GET"]),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """The form, or who is signed in."""
        back = return_address(request.query_params.get(PARAMETER, ""))
        if self._gate.is_open:
            return _see(request, back)
        try:
            return _html(await admission_of(request.scope).look(), back)
        except AuthenticatorFailed as error:
            return _html(None, back, str(error), 503)

    async def sign_in(self, request: Request) -> Response:
        """Take a token out of the form; it is set as the cookie when somebody is known by it."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/x-www-form-urlencoded":
            return refusal(415, "UNSUPPORTED_MEDIA_TYPE", "Send the token as the page's form does.")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _MAX_FORM_BYTES:
                message = f"The body is larger than {_MAX_FORM_BYTES} bytes."
                return refusal(413, "BODY_TOO_LARGE", message, told={"limit": _MAX_FORM_BYTES})
        form = parse_qs(body.decode("ascii", "replace"))
        token = form.get("token", [""])[0].strip()
        back = return_address(form.get(PARAMETER, [""])[0])
        client = request.client
        # Not the headers: who is known by them already would be let in by any token.
        credentials = Credentials(token or None, {}, client.host if client is not None else None)
        if not token or not (token.isascii() and token.isprintable()):
            return _html(None, back, "This can't be a token.", 401)
        try:
            known = await self._gate.identify(credentials)
        except AuthenticatorFailed as error:
            return _html(None, back, str(error), 503)
        if known is None:
            return _html(None, back, "This token is not known here.", 401)
        if self._gate.by_token(token) is None:
            try:
                is_known_anyway = await self._gate.by_others(replace(credentials, token=None)) == known
            except AuthenticatorFailed as error:
                return _html(None, back, str(error), 503)
            if is_known_anyway:
                # By the address, say: whatever was given would be kept, as if it were a token.
                return _html(known, back, "You are let in without a token; this one is not kept.")
        answer = _see(request, back)
        # Until the browser is closed.
        answer.set_cookie(
            COOKIE, token, path=_path(request), secure=_is_secure(request), httponly=True, samesite="strict"
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Take the cookie back."""
        answer = _see(request, "/login")
        answer.delete_cookie(COOKIE, path=_path(request), secure=_is_secure(request), httponly=True, samesite="strict")
        return answer


def _path(request: Request) -> str:
    return str(request.scope.get("root_path", "")) + "/"


def _is_secure(request: Request) -> bool:
    # What a client says of a proxy's scheme changes nothing but where the same client sends its cookie.
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"


def _see(request: Request, path: str) -> RedirectResponse:
    return RedirectResponse(request.scope.get("root_path", "") + path, 303, {"cache-control": "no-store"})


def _html(known: Identity | None, back: str, problem: str = "", status: int = 200) -> Response:
    text = _PAGE.read_text(encoding="utf-8")
    state = "" if known is None else f"Signed in as {known.name or 'nobody by name'}: {known.role}."
    values = {"problem": problem, "state": state, "known": "known" if known else "unknown", "next": back}
    text = _MARK.sub(lambda mark: escape(values[mark[1]]), text)
    return Response(text, status, _HEADERS, "text/html; charset=utf-8")
