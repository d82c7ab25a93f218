"""GraphQL over HTTP by the standard library: one kept-alive connection, certificates checked, answers bounded."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import socket
import ssl
import time
from base64 import b64encode
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from daglens.recorder.remote.address import InvalidToken, ServerAddress, Token

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024

_DENIED: Final = frozenset({"UNAUTHENTICATED", "FORBIDDEN"})
_CLOSED: Final = (ConnectionError, http.client.BadStatusLine)
_FAILED: Final = frozenset({"INTERNAL", "STORAGE_UNAVAILABLE", "STORAGE_CONTRACT_BROKEN"})
"""A server can't tell a storage that is away from one with a bug, so neither can we."""
_BY_A_PROXY: Final = frozenset({502, 503, 504})
_BAD_INPUT: Final = frozenset({"BAD_USER_INPUT"})


class ServerAway(Exception):
    """The server can't be reached, or what it answers is no answer: try again later. Its text is a sentence."""


class ServerFailed(ServerAway):
    """The server failed at this request, or its storage did: it is away, or what was sent is what it can't take."""


class AccessDenied(ServerAway):
    """The server doesn't take this token, or asks for one."""


class InputRefused(Exception):
    """What was sent can't be taken as it is; sending it again doesn't help.

    Attributes:
        path: Of the bad value as the server names it, e.g. `events.3.data`; "" when it doesn't say.
        code: Of the error.
    """

    def __init__(self, message: str, path: str = "", code: str = "INVALID_INPUT") -> None:
        super().__init__(message)
        self.path = path
        self.code = code


class GraphQLConnection:
    """Sends operations, one at a time; for one thread."""

    def __init__(
        self,
        address: ServerAddress,
        token: Token,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """
        Args:
            answer_timeout_s: For an answer as a whole, however slowly it comes.
        """
        self.address = address
        self._token = token
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._http: http.client.HTTPConnection | None = None
        self._path = address.path
        self._headers: dict[str, str] = {}
        self._overdue_at = math.inf
        self._is_aborted = False

    def execute(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Run an operation; its `data`.

        Raises:
            ServerAway: There is no usable answer. The operation may have been carried out all the same.
            AccessDenied: By status 401 or 403, or by the code of an error.
            InputRefused: A variable doesn't fit its type.
        """
        return self.execute_json(query, json.dumps(variables).encode())

    def execute_json(self, query: str, variables: bytes) -> dict[str, Any]:
        """`execute`, with the variables as JSON text already."""
        body = b'{"query":%s,"variables":%s}' % (json.dumps(query).encode(), variables)
        status, answer = self._exchange(body)
        try:
            return _data(self.address.url, status, answer, token_sent="Authorization" in self._headers)
        except AccessDenied:
            self.close()  # the next one reads the token again
            raise

    def close(self) -> None:
        """Close the connection; the next operation opens another."""
        connection, self._http = self._http, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def abort(self) -> None:
        """From any thread: end the operation under way, and take no further one."""
        self._is_aborted = True
        self._shut()

    def abort_if_overdue(self) -> None:
        """From any thread: end an operation that takes too long. A socket's own timeout begins anew with every byte."""
        if time.monotonic() > self._overdue_at:
            self._shut()

    def _shut(self) -> None:
        connection = self._http
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    # ------------------------------------------------------------ HTTP

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        self._overdue_at = time.monotonic() + 2 * self._answer_timeout_s
        try:
            return self._send(body)
        finally:
            self._overdue_at = math.inf

    def _send(self, body: bytes) -> tuple[int, bytes]:
        if self._http is not None and self._http.sock is None:
            self.close()  # the server ended it with its last answer
        kept_alive = self._http is not None
        try:
            return self._try(body)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if not kept_alive or not isinstance(error, _CLOSED):
                raise ServerAway(self._why(error)) from error
        # The server, or something in between, had closed the idle connection. Every operation may be sent twice.
        try:
            return self._try(body)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise ServerAway(self._why(error)) from error

    def _try(self, body: bytes) -> tuple[int, bytes]:
        if self._is_aborted:
            raise ServerAway("Sending was ended.")
        give_up_at = time.monotonic() + self._answer_timeout_s
        connection = self._http or self._connect()
        self._http = connection
        if self._is_aborted:  # while it was connecting, which nothing can end
            raise ServerAway("Sending was ended.")
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        answer = bytearray()
        while part := response.read1(65_536):
            answer += part
            if len(answer) > self._max_answer_bytes:
                self.close()
                raise ServerAway(f"{self.address.url} answers more than {self._max_answer_bytes} bytes.")
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            if connection.sock is not None:
                connection.sock.settimeout(left)
        if response.length:
            raise http.client.IncompleteRead(bytes(answer), response.length)
        # Else the connection would take this answer for unread: read1 doesn't notice the end.
        response.close()
        if connection.sock is not None:
            connection.sock.settimeout(self._answer_timeout_s)
        if 300 <= response.status < 400:
            self.close()
            raise ServerAway(
                f"{self.address.url} answers with a redirect to {(response.getheader('location') or '?')[:200]!r}, "
                "which is not followed: give the address that it leads to."
            )
        return response.status, bytes(answer)

    def _connect(self) -> http.client.HTTPConnection:
        try:
            token = self._token.read()
        except InvalidToken as error:
            raise AccessDenied(str(error)) from None
        address = self.address
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/graphql-response+json, application/json;q=0.9",
            "User-Agent": "daglens-recorder",
        }
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._path = address.path
        proxy = None if address.is_loopback else _proxy(address)
        host, port = (address.host, address.port) if proxy is None else (proxy[0], proxy[1])
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=self._connect_timeout_s, context=ssl.create_default_context()
            )
            if proxy is not None:
                connection.set_tunnel(address.host, address.port, proxy[2])
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._connect_timeout_s)
            if proxy is not None:
                self._path = f"http://{_host_header(address)}{address.path}"
                self._headers |= {"Host": _host_header(address), **proxy[2]}
        connection.connect()
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock.settimeout(self._answer_timeout_s)
        return connection

    def _why(self, error: Exception) -> str:
        url = self.address.url
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{url}: its certificate is not trusted here ({error.verify_message})."
        if isinstance(error, TimeoutError):
            return f"{url} doesn't answer in time."
        if isinstance(error, http.client.IncompleteRead):
            return f"{url} broke its answer off."
        if isinstance(error, http.client.HTTPException):
            return f"{url} answers what is no HTTP ({type(error).__name__})."
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return f"{url} can't be reached: {reason}."


def _host_header(address: ServerAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _proxy(address: ServerAddress) -> tuple[str, int, dict[str, str]] | None:
    """Host, port and headers of the proxy that the environment names for this address."""
    from urllib.request import getproxies, proxy_bypass

    text = getproxies().get(address.scheme)
    if not text or proxy_bypass(address.host):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    headers = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return host, port or 3128, headers


# ---------------------------------------------------------------- answers


def _data(url: str, status: int, answer: bytes, *, token_sent: bool) -> dict[str, Any]:
    try:
        body = json.loads(answer)
    except (ValueError, RecursionError):
        body = None
    errors = body.get("errors") if isinstance(body, dict) else None
    told = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    codes = {_code(error) for error in told}
    if status in (401, 403) or codes & _DENIED:
        unknown = status == 401 or "UNAUTHENTICATED" in codes
        raise AccessDenied(f"{url} denies access{_told(told)}" if not unknown else _unknown(url, told, token_sent))
    if status == 413:
        raise InputRefused("The request is larger than the server takes.", code="BODY_TOO_LARGE")
    if codes & _BAD_INPUT:
        raise InputRefused(str(told[0].get("message"))[:1000], code="BAD_USER_INPUT")
    data = body.get("data") if isinstance(body, dict) else None
    if told or errors or status != 200 or not isinstance(data, dict):
        if body is None or not (told or isinstance(data, dict)):
            if status in _BY_A_PROXY:
                raise ServerAway(f"Behind {url} no daglens server answers now (status {status}, by a proxy).")
            raise ServerAway(f"What {url} answers (status {status}) is not of a daglens server. Is the address right?")
        failed = ServerFailed if codes & _FAILED else ServerAway
        raise failed(f"The server failed (status {status}){_told(told)}")
    return data


def _code(error: dict[str, Any]) -> str:
    extensions = error.get("extensions")
    return str(extensions.get("code")) if isinstance(extensions, dict) else ""


def _unknown(url: str, told: list[dict[str, Any]], token_sent: bool) -> str:
    # The server's first sentence alone: the next one tells who writes a client which header to send.
    said = _told(told).partition(". ")[0].removesuffix(".")
    hint = (
        "The token that was sent is mistyped, removed or rotated."
        if token_sent
        else "No token was sent: --token-file FILE, $DAGLENS_TOKEN_FILE or $DAGLENS_TOKEN gives one."
    )
    return f"{url} denies access{said}{'' if said.endswith('?') else '.'} {hint}"


def _told(errors: list[dict[str, Any]]) -> str:
    return f": {str(errors[0].get('message'))[:500]}" if errors else "."
