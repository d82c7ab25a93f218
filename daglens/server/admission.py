"""Who a request or a socket speaks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from starlette.requests import cookie_parser
from starlette.types import Scope

from daglens.access import EVERYBODY, Authenticator, Credentials, Identity, Role, Unauthenticated
from daglens.access.proxies import TrustedProxies
from daglens.access.tokens import Tokens
from daglens.resolvers.threads import Threads
from daglens.storage.errors import DaglensError

log = logging.getLogger("daglens.server")

COOKIE: Final = "daglens_token"
_KEY: Final = "daglens.admission"
_LOOK_S: Final = 1.0
"""Between two looks whether a token that feeds are sent by still holds."""
_AUTHENTICATOR_S: Final = 10.0
_AUTHENTICATOR_THREADS: Final = 16
_OF_ONE_ADDRESS: Final = 12
"""Of these threads: anybody may have an authenticator asked, and one that takes its time would be there for nobody
else."""
_ASKED: Final = ("type", "method", "headers", "client")
"""What of a scope tells who it is."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class AuthenticatorFailed(DaglensError):
    """The server can't tell at present who you are; its log says why."""

    code = "ACCESS_UNAVAILABLE"


class Gate:
    """Asks the file of tokens, the trusted proxies and an own authenticator, in this order, who somebody is."""

    def __init__(
        self,
        *,
        tokens: Tokens | None = None,
        proxies: TrustedProxies | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self.tokens = tokens
        self._proxies = proxies
        self._authenticator = authenticator
        # One that hangs has so many of them, however many give up waiting for it.
        self._threads = Threads(_AUTHENTICATOR_THREADS, "daglens-authenticator")
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def is_open(self) -> bool:
        """There is no access control: everybody may do everything."""
        return self.tokens is None and self._proxies is None and self._authenticator is None

    async def identify(self, credentials: Credentials) -> Identity | None:
        """Who this is; None when nobody knows.

        Raises:
            AuthenticatorFailed
        """
        if self.is_open:
            return EVERYBODY
        found = self.by_token(credentials.token)
        return found if found is not None else await self.by_others(credentials)

    def by_token(self, token: str | None) -> Identity | None:
        """Whose token this is, by the file of tokens."""
        return None if self.tokens is None or token is None else self.tokens.find(token)

    async def by_others(self, credentials: Credentials) -> Identity | None:
        """Whom a trusted proxy or an own authenticator knows this as.

        Raises:
            AuthenticatorFailed
        """
        found = None
        if self._proxies is not None:
            found = self._proxies.find(credentials)
        if found is None and self._authenticator is not None:
            found = await self._ask(self._authenticator, credentials)
        return found

    def _places_of(self, address: str) -> asyncio.Semaphore:
        places = self._places.get(address)
        if places is None:
            places = self._places[address] = asyncio.Semaphore(_OF_ONE_ADDRESS)
        return places

    async def _ask(self, authenticator: Authenticator, credentials: Credentials) -> Identity | None:
        kind = type(authenticator).__name__
        try:
            async with asyncio.timeout(_AUTHENTICATOR_S), self._places_of(credentials.client_host or ""):
                found: object = await self._threads.carry_out(authenticator.authenticate, credentials)
        except Exception as error:
            # By its name alone: the message may hold what was handed in.
            log.error("The authenticator %s failed: %s", kind, type(error).__name__)
            raise AuthenticatorFailed from None
        if found is None:
            return None
        if isinstance(found, Identity) and found.role in tuple(Role):
            return found
        log.error("The authenticator %s gave a %s, and not an Identity", kind, type(found).__name__)
        raise AuthenticatorFailed


class Admission:
    """Who one request or socket speaks for: nobody until somebody was let in. Kept in its scope."""

    def __init__(self, gate: Gate, scope: Scope) -> None:
        self._gate = gate
        # Not the scope itself: it holds this, and neither would go before Python's garbage collector came.
        self._scope = {name: scope[name] for name in _ASKED if name in scope}
        self._identity: Identity | None = EVERYBODY if gate.is_open else None
        self._token: str | None = None
        self._generation = 0
        self._looked_at_s = 0.0
        self._is_over = False
        self.was_asked = False
        """Credentials of some kind were given."""

    @property
    def admitted(self) -> Identity:
        """Who was let in.

        Raises:
            Unauthenticated: Nobody was, or their token has ended since.
        """
        if self._identity is None or self._has_ended():
            raise Unauthenticated
        return self._identity

    @property
    def known(self) -> Identity | None:
        """Who was let in, if anybody was yet."""
        return self._identity

    async def look(self, *, by_others: bool = True) -> Identity | None:
        """Let in whom the request's headers name, if anybody. `by_others` False: by the file of tokens alone, at once.

        Raises:
            AuthenticatorFailed
        """
        return await self._take(_token_of(self._scope), by_others=by_others)

    async def enter(self, payload: Mapping[str, Any]) -> None:
        """Let in whom the payload of `connection_init` names, else whom the handshake's headers do.

        Raises:
            Unauthenticated, AuthenticatorFailed
        """
        given = next((value for key, value in payload.items() if key.lower() == "authorization"), None)
        token = _bearer(given) if isinstance(given, str) else None
        self.was_asked = given is not None
        # Who names a token means that one; another may stand in the browser's cookie.
        if await self._take(token if self.was_asked else _token_of(self._scope)) is None:
            raise Unauthenticated(_HOW)

    def is_over(self) -> bool:
        """Whether the token that somebody was let in by has ended; looked for once a second at most, until it has."""
        if self._token is None or self._is_over:
            return self._is_over
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s < _LOOK_S:
            return False
        self._looked_at_s = now_s
        return self._has_ended()

    async def _take(self, token: str | None, *, by_others: bool = True) -> Identity | None:
        if self._gate.is_open:
            return self._identity
        self.was_asked = self.was_asked or token is not None
        tokens = self._gate.tokens
        generation = tokens.generation if tokens is not None else 0
        client = self._scope.get("client")
        credentials = Credentials(token, headers_of(self._scope), client[0] if client else None)
        # One look says both who it is and by what, so that a token that ends meanwhile ends what begins here as well.
        self._identity = self._gate.by_token(token)
        self._token, self._generation = (None, 0) if self._identity is None else (token, generation)
        if self._identity is None and by_others:
            self._identity = await self._gate.by_others(credentials)
        return self._identity

    def _has_ended(self) -> bool:
        tokens = self._gate.tokens
        if self._token is None or tokens is None or self._generation == tokens.generation:
            return False
        self._generation = tokens.generation
        if tokens.find(self._token) == self._identity:
            return False
        # Whoever asks first, by `admitted` or by a message that is to be sent: it is over for all that is under way.
        self._identity = self._token = None
        self._is_over = True
        return True


_HOW: Final = "Send `Authorization: Bearer TOKEN`, on sockets also in the payload of connection_init."


def unauthenticated() -> Unauthenticated:
    """The error, with what to do."""
    return Unauthenticated(_HOW)


def admit(gate: Gate, scope: Scope) -> Admission:
    """A new admission, in its scope."""
    admission = scope[_KEY] = Admission(gate, scope)
    return admission


def admission_of(scope: Scope) -> Admission:
    """The admission of a scope that has come through the gate."""
    admission: Admission = scope[_KEY]
    return admission


# ---------------------------------------------------------------- headers


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by name, in lower case; several of one name joined by a comma: of two, a proxy may have checked the
    other one, and joined they are none that is taken."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def cookie_of(headers: Mapping[str, str]) -> str | None:
    """The token in the cookie of `/login`."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE) or None


def _token_of(scope: Scope) -> str | None:
    headers = headers_of(scope)
    if "authorization" in headers:
        return _bearer(headers["authorization"])
    is_safe = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
    # What a browser sends unasked counts for changes and sockets only beside its word which page asks: AccessMiddleware
    # has refused those of other sites. SameSite=Strict alone takes another port of this host for the same site.
    if not is_safe and "origin" not in headers and headers.get("sec-fetch-site") != "same-origin":
        return None
    return cookie_of(headers)


def _bearer(value: str) -> str | None:
    scheme, _, token = value.strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
