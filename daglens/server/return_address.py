"""Which address somebody wanted who was sent to `/login`: signing in leads back to it, and to no other server."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from starlette.types import Scope

PARAMETER: Final = "next"
HOME: Final = "/graphiql"
_MAX_CHARS: Final = 2_000
_STARTS: Final = frozenset({"/", HOME, f"{HOME}/"})
_NEVER: Final = ("/login", "/logout")
# One slash and no more: `//evil.example` is another server. No backslash, which browsers take for a slash, nor what
# they leave out (tabs, line ends); nothing but what an address is written in.
_LOCAL: Final = re.compile(r"/(?![/\\])[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*", re.ASCII)
_DOTS: Final = frozenset({".", ".."})


def login_address(scope: Scope) -> str:
    """The address of the page for signing in, with the one that this request asked for."""
    prefix = str(scope.get("root_path", ""))
    wanted = _asked_for(scope, prefix)
    asked = "" if wanted is None else f"?{PARAMETER}={quote(wanted, safe='/')}"
    return f"{prefix}/login{asked}"


def return_address(text: str) -> str:
    """Where signing in leads, below the server's prefix: to the address of a form, if it is one of this server, else to
    GraphiQL."""
    return text if is_local(text) else HOME


def is_local(text: str) -> bool:
    """Whether this is an address of this server, below its prefix: a path, perhaps with a query, and no more."""
    if len(text) > _MAX_CHARS or not _LOCAL.fullmatch(text):
        return False
    path = text.partition("?")[0]
    return path not in _NEVER and not _DOTS & set(unquote(path).split("/"))


def _asked_for(scope: Scope, prefix: str) -> str | None:
    path = (scope.get("raw_path") or b"").decode("latin-1") or quote(scope["path"])
    query = scope["query_string"].decode("latin-1")
    wanted = path.removeprefix(quote(prefix)) + (f"?{query}" if query else "")
    return wanted if wanted not in _STARTS and is_local(wanted) else None
