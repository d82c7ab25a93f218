"""How the server is spoken to: addresses, tokens, certificates, proxies, and answers that don't end."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import daglens
from daglens.recorder.remote.address import InvalidServerAddress, InvalidToken, ServerAddress, Token
from daglens.recorder.remote.connection import AccessDenied, GraphQLConnection, InputRefused, ServerAway, ServerFailed
from daglens.recorder.remote.operations import Server, rfc3339
from daglens.storage.errors import LogGap, RunConflict, RunDeleted, RunNotFound
from daglens.storage.records import ComputeIO, LogKey
from tests.recorder.remote.gate import Gate, Request, answered, error, gate_to

ADDRESSES = {
    "https://lens.example.org": ("https://lens.example.org", 443, "/graphql"),
    "HTTPS://Lens.Example.org/": ("https://lens.example.org", 443, "/graphql"),
    "https://lens.example.org:443/team/": ("https://lens.example.org/team", 443, "/team/graphql"),
    "https://lens.example.org/team/graphql": ("https://lens.example.org/team", 443, "/team/graphql"),
    "http://127.0.0.1:3000": ("http://127.0.0.1:3000", 3000, "/graphql"),
    "http://[::1]:3000/": ("http://[::1]:3000", 3000, "/graphql"),
    " http://localhost ": ("http://localhost", 80, "/graphql"),
}


@pytest.mark.parametrize(("text", "expected"), ADDRESSES.items(), ids=ADDRESSES.keys())
def test_addresses(text: str, expected: tuple[str, int, str]) -> None:
    """However an address is written, it names one server."""
    found = ServerAddress.parse(text)
    assert (found.url, found.port, found.path) == expected
    assert ServerAddress.parse(found.url) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lens.example.org",
        "ftp://lens.example.org",
        "http://",
        "https://user:secret@lens.example.org",
        "https://secret@lens.example.org",
        "https://lens.example.org?token=secret",
        "https://lens.example.org#secret",
        "https://lens.example.org:99999",
        "https://lens.example.org/a b",
        "https://lens.example.org/\r\nX: secret",
        "https://[::1",
        "https://exämple.org",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """What can't be the address of a server is refused, and no secret in it is shown."""
    with pytest.raises(InvalidServerAddress) as raised:
        ServerAddress.parse(text)
    assert "secret@" not in str(raised.value) and ":secret" not in str(raised.value)


def test_tokens(tmp_path: Path) -> None:
    """A token shows in no text of itself; a file is read when it is needed; what can't be one is told then."""
    token = Token.given(" abc ")
    assert token.read() == "abc" and "abc" not in repr(token) + str(token)
    file = tmp_path / "token"
    late = Token.in_file(file)
    with pytest.raises(InvalidToken, match=re.escape(str(file))):
        late.read()
    file.write_text("two words")
    with pytest.raises(InvalidToken, match="a token and nothing else") as raised:
        late.read()
    assert "two" not in str(raised.value)
    file.write_text("right\n")
    assert late.read() == "right"
    with pytest.raises(InvalidToken):
        Token.given("").read()
    assert Token.none().read() is None
    assert Token.of_environment({"DAGLENS_TOKEN": "a"}).read() == "a"
    assert Token.of_environment({"DAGLENS_TOKEN": "a", "DAGLENS_TOKEN_FILE": str(file)}).read() == "right"
    assert Token.of_environment({"DAGLENS_TOKEN": "", "DAGLENS_TOKEN_FILE": ""}).read() is None


@contextlib.contextmanager
def connected(url: str, token: Token | None = None, **options: Any) -> Iterator[GraphQLConnection]:
    """A connection to a server."""
    connection = GraphQLConnection(ServerAddress.parse(url), token or Token.none(), **options)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def answers() -> Iterator[Gate]:
    """A gate with nothing behind it."""
    with gate_to("http://127.0.0.1:9") as gate:
        gate.behave = lambda request: answered({"version": "1"})
        yield gate


def test_one_connection_serves_many_requests(answers: Gate) -> None:
    """Requests share a connection that is kept alive; the token and what a server asks for are in their headers."""
    with connected(answers.url, Token.given("abc")) as connection:
        for _ in range(20):
            assert connection.execute("{ version }", {}) == {"version": "1"}
        assert len(answers._open) == 1
    headers = answers.requests[0].headers
    assert headers["authorization"] == "Bearer abc"
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{answers.port}"


def test_a_server_that_closes_after_each_answer(answers: Gate) -> None:
    """So it works with one that keeps no connection, without a request that fails first."""

    class Closing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"data": {"version": "1"}}')

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with running(Closing) as url, connected(url) as connection:
        for _ in range(3):
            assert connection.execute("{ version }", {}) == {"version": "1"}


@contextlib.contextmanager
def running(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server of this handler; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


WAYS: dict[str, tuple[Any, type[Exception], str]] = {
    "401": (error("UNAUTHENTICATED", "Who?", 401), AccessDenied, "denies access: Who?"),
    "UNAUTHENTICATED": (
        error("UNAUTHENTICATED", "I don't know you. Send a header."),
        AccessDenied,
        "know you. No token",
    ),
    "403 by a proxy": ((403, "text/html", b"<h1>No</h1>"), AccessDenied, "denies access."),
    "FORBIDDEN": (error("FORBIDDEN", "Not yours."), AccessDenied, "Not yours."),
    "413": ((413, "text/plain", b""), InputRefused, "larger than the server takes"),
    "bad input": (error("BAD_USER_INPUT", "Odd."), InputRefused, "Odd."),
    "500": ((500, "text/plain", b"Oops"), ServerAway, "status 500"),
    "redirect": ((308, "text/plain", b""), ServerAway, "redirect"),
    "HTML": ((200, "text/html", b"<html>"), ServerAway, "Is the address right?"),
    "404": ((404, "application/json", b'{"detail": "Not Found"}'), ServerAway, "Is the address right?"),
    "502 by a proxy": ((502, "text/html", b"<h1>Bad Gateway</h1>"), ServerAway, "no daglens server answers now"),
    "bug": (error("INTERNAL", "Went wrong."), ServerFailed, "Went wrong."),
    "errors that are none": ((200, "application/json", b'{"errors": 7, "data": {}}'), ServerAway, "failed"),
    "not UTF-8": ((200, "application/json", b"\xff\xfe"), ServerAway, "Is the address right?"),
}


@pytest.mark.parametrize(("answer", "kind", "text"), WAYS.values(), ids=WAYS.keys())
def test_answers(answers: Gate, answer: Any, kind: type[Exception], text: str) -> None:
    """What each kind of answer means."""
    answers.behave = lambda request: answer
    with connected(answers.url) as connection, pytest.raises(kind, match=re.escape(text)) as raised:
        connection.execute("{ version }", {})
    assert type(raised.value) is kind


def test_a_token_that_is_not_known(answers: Gate) -> None:
    """Who sent none hears how to give one, who sent one that it isn't right, and both from which server."""
    answers.behave = lambda request: error("UNAUTHENTICATED", "I don't know you. Send a header.", 401)
    with connected(answers.url) as connection, pytest.raises(AccessDenied) as raised:
        connection.execute("{ version }", {})
    assert str(raised.value) == (
        f"{answers.url} denies access: I don't know you. "
        "No token was sent: --token-file FILE, $DAGLENS_TOKEN_FILE or $DAGLENS_TOKEN gives one."
    )
    with connected(answers.url, Token.given("old")) as connection, pytest.raises(AccessDenied) as raised:
        connection.execute("{ version }", {})
    assert "I don't know you. The token that was sent is mistyped, removed or rotated." in str(raised.value)


def test_typed_errors(answers: Gate) -> None:
    """Members of result unions come as the storages' own errors."""

    def told(typename: str, **fields: Any) -> Callable[[Request], Any]:
        return lambda request: answered({request.field: {"__typename": typename, "message": "No.", **fields}})

    with connected(answers.url) as connection:
        server = Server(connection)
        answers.behave = told("RunNotFoundError", code="RUN_NOT_FOUND")
        with pytest.raises(RunNotFound):
            server.heartbeat("r", 60)
        answers.behave = told("RunConflictError", code="RUN_CONFLICT")
        with pytest.raises(RunConflict):
            server.create_run({"runId": "r"})
        answers.behave = told("RunConflictError", code="RUN_DELETED")
        with pytest.raises(RunDeleted):
            server.create_run({"runId": "r"})
        answers.behave = told("ComputeLogOffsetError", code="COMPUTE_LOG_OFFSET", sizeBytes="7")
        with pytest.raises(LogGap) as gap:
            server.append_log(LogKey("r", "a"), ComputeIO.STDOUT, 9, b"x", complete=False)
        assert gap.value.size_bytes == 7
        answers.behave = told("SomeNewError", code="NEW")
        with pytest.raises(InputRefused):
            server.report_events("r", [])


def test_times() -> None:
    """Microseconds survive."""
    assert rfc3339(1_800_000_000_000_001) == "2027-01-15T08:00:00.000001Z"


def test_an_answer_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes byte by byte without end is given up in time, also while its headers come."""
    ended = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        in_headers = False

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            if not self.in_headers:
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
            with contextlib.suppress(OSError):
                while not ended.wait(0.02):
                    self.wfile.write(b" ")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    try:
        with running(Dripping) as url:
            with connected(url, answer_timeout_s=0.2) as connection, pytest.raises(ServerAway, match="in time"):
                connection.execute("{ version }", {})
            Dripping.in_headers = True
            with connected(url, answer_timeout_s=0.2) as connection:
                done = threading.Event()
                watcher = threading.Thread(target=abort_until, args=(connection, done))
                watcher.start()
                try:
                    with pytest.raises(ServerAway):
                        connection.execute("{ version }", {})
                finally:
                    done.set()
                    watcher.join()
            ended.set()
    finally:
        ended.set()


def abort_until(connection: GraphQLConnection, done: threading.Event) -> None:
    """What a run's pulse does now and then."""
    while not done.wait(0.02):
        connection.abort_if_overdue()


def test_nothing_listens() -> None:
    """A refused connection, an unknown host and a silent one each have a sentence."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with connected(url) as connection, pytest.raises(ServerAway, match="Connection refused"):
            connection.execute("{ version }", {})
    with connected("http://no-such-host.invalid") as connection, pytest.raises(ServerAway, match="can't be reached"):
        connection.execute("{ version }", {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with connected(url, answer_timeout_s=0.1) as connection, pytest.raises(ServerAway, match="in time"):
            connection.execute("{ version }", {})


def test_what_is_no_http() -> None:
    """A server of another protocol has a sentence, too."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def talk() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = other.accept()
                    with client:
                        client.recv(65_536)
                        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with (
            connected(f"http://127.0.0.1:{other.getsockname()[1]}") as connection,
            pytest.raises(ServerAway, match="no HTTP"),
        ):
            connection.execute("{ version }", {})
        other.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody has signed, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    return cert, key


def test_certificates_are_checked(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that isn't trusted gets neither token nor data; one of $SSL_CERT_FILE is trusted."""
    seen: list[str | None] = []

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen.append(self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"]))
            body = b'{"data": {"version": "1"}}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with running(Answering, context) as url:
        with connected(url, Token.given("abc")) as connection, pytest.raises(ServerAway, match="is not trusted here"):
            connection.execute("{ version }", {})
        assert seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with connected(url, Token.given("abc")) as connection:
            assert connection.execute("{ version }", {}) == {"version": "1"}
        assert seen == ["Bearer abc"]


def test_proxies(answers: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is used, with its credentials, but not for this machine's own addresses."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://us%65r:pass@127.0.0.1:{answers.port}")
    with connected("http://lens.example.org/team") as connection:
        assert connection.execute("{ version }", {}) == {"version": "1"}
    (request,) = answers.requests
    assert request.path == "http://lens.example.org:80/team/graphql"
    assert request.headers["host"] == "lens.example.org:80"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with connected(answers.url) as connection:
        assert connection.execute("{ version }", {}) == {"version": "1"}
    monkeypatch.setenv("no_proxy", "lens.example.org")
    with connected("http://lens.example.org.invalid") as connection, pytest.raises(ServerAway, match="refused"):
        connection.execute("{ version }", {})


@pytest.mark.usefixtures("server_stays_away")
def test_a_token_in_the_open(spool, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for another machine over http is warned of, once; for this machine, or without a token, it isn't."""
    monkeypatch.setattr("daglens.recorder.remote.destination.SETTLE_S", 0.1)
    cases = [
        ("http://no-such-host.invalid", "the-token", 1),
        ("http://no-such-host.invalid", None, 0),
        ("http://127.0.0.1:9", "the-token", 0),
        ("http://localhost:9", "the-token", 0),
    ]
    for url, token, warnings in cases:
        with daglens.start_run("p", to=url, token=token) as run, run.step("a"):
            pass
        said = capsys.readouterr().err
        assert said.count("without encryption") == warnings, (url, token)
        assert "the-token" not in said


def test_a_host_that_is_slow_to_be_found(spool, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that never answers holds up the pipeline for seconds at most: this test ends."""
    monkeypatch.setattr("daglens.recorder.remote.destination.SETTLE_S", 0.1)
    monkeypatch.setattr("daglens.recorder.remote.destination.ASK_TIMEOUT_S", 0.1)
    monkeypatch.setattr("daglens.recorder.remote.destination.FINISH_S", 0.1)
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found.wait() and [])
    try:
        with daglens.attach_run("r", to="http://lens.example.org") as run, run.step("a"):
            pass
    finally:
        found.set()
    assert "doesn't answer in time" in capsys.readouterr().err
