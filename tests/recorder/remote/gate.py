"""What stands between a recorder and its server in tests: it can go away, lose answers and answer nonsense."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

JSON = "application/json"


@dataclass
class Request:
    """One request as it came. `forward` gives the server's answer to it."""

    path: str
    headers: dict[str, str]
    body: bytes
    forward: Callable[[], Answer]

    @property
    def field(self) -> str:
        """Name of the operation's field, e.g. reportEvents."""
        query = json.loads(self.body)["query"]
        return next(name for name in FIELDS if f"{name}(" in query)

    @property
    def variables(self) -> Any:
        """Variables of the operation."""
        return json.loads(self.body)["variables"]


FIELDS = ("createRun", "reportEvents", "heartbeat", "addRunTags", "appendComputeLog", "runOrError")


class Lost(Exception):
    """The connection breaks without an answer."""


def forwarded(request: Request) -> Answer:
    """What the server answers."""
    return request.forward()


@dataclass
class Gate:
    """A front of a server on an address of its own.

    Attributes:
        behave: What happens to a request; by default it is forwarded. Raise Lost to break the connection.
        requests: All that came, oldest first.
    """

    behind: str
    port: int = 0
    behave: Callable[[Request], Answer] = forwarded
    requests: list[Request] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None
    _open: dict[socket.socket, threading.Lock] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """As recorders are given it."""
        return f"http://127.0.0.1:{self.port}"

    def raise_(self) -> None:
        """Be there, at the same address as before."""
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def fall(self) -> None:
        """Be gone: open connections break, new ones are refused."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            for opened in list(self._open):
                with contextlib.suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
            self._server.server_close()
            self._server = None

    def close_idle(self) -> None:
        """Close every connection, each when no request is under way on it."""
        for opened, answering in list(self._open.items()):
            with answering, contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def of(self, field: str) -> list[Request]:
        """Requests with this field."""
        return [request for request in list(self.requests) if request.field == field]

    def events(self) -> list[dict[str, Any]]:
        """Every event that was sent, sent again or not."""
        return [event for request in self.of("reportEvents") for event in request.variables["events"]]


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is what tests want."""


def _handler(gate: Gate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            gate._open[self.connection] = threading.Lock()

        def finish(self) -> None:
            gate._open.pop(self.connection, None)
            super().finish()

        def do_POST(self) -> None:
            with gate._open[self.connection]:
                self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, body, lambda: _forward(gate.behind, body))
            gate.requests.append(request)
            try:
                status, kind, answer = gate.behave(request)
            except Lost:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _forward(behind: str, body: bytes) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(behind).netloc, timeout=60)
    try:
        connection.request("POST", "/graphql", body, {"content-type": JSON})
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read()
    finally:
        connection.close()


@contextlib.contextmanager
def gate_to(url: str) -> Iterator[Gate]:
    """A gate that is there, in front of a server."""
    gate = Gate(url)
    gate.raise_()
    try:
        yield gate
    finally:
        gate.fall()


def answered(data: Any) -> Answer:
    """A server's answer with this data."""
    return 200, JSON, json.dumps({"data": data}).encode()


def error(code: str, message: str = "No.", status: int = 200) -> Answer:
    """A server's answer with one entry in `errors[]`."""
    body = {"data": None, "errors": [{"message": message, "extensions": {"code": code}}]}
    return status, JSON, json.dumps(body).encode()
