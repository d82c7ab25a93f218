"""HTTP as no client would send it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from hypothesis import strategies as st

from tests.server.conftest import PATIENCE_S

IDLE_S = 0.03

TARGETS = st.sampled_from(
    [
        "/graphql",
        "/graphql?query={version}",
        "/graphql?query=%7Bversion%7D&variables=[]",
        "/graphql?query=subscription{runs{__typename}}",
        "/graphql?variables=%ff&query=%00",
        "/graphiql/assets/..%2f..%2fapp.py",
        "/graphiql/page/%2e%2e/%2e%2e/app.py",
        "/runs/{run}/compute-logs/extract/stdout?attempt=2",
        "/runs/{run}/compute-logs/extract/stdout?attempt=99999999999999999999",
        "/runs/{run}/compute-logs/extract/stderr?attempt=-1&attempt=x",
        "/runs/{run}/compute-logs/%2e%2e%2f%2e%2e/stdout",
        "/runs/{run}/artifacts/report.html",
        "/runs/{run}/artifacts/../../../dagster.yaml",
        "/runs/{run}/artifacts/%2e%2e/%2e%2e/%2e%2e/%2e%2e/tokens",
        "/runs/%2e%2e/artifacts/%2e%2e%2ftokens",
        "/runs/{run}/artifacts/%00",
        "/runs/%ff%fe/artifacts/%c3%28",
        "/runs/a%0d%0aSet-Cookie:x/artifacts/b",
        "/runs/%ED%A0%80/compute-logs/s/stdout",
        "/runs//artifacts/",
        "/runs/",
        "//example.org/%2f..",
        "/login",
        "/logout",
        "/metrics",
        "/readyz",
        "*",
        "http://[::1",
        "http://example.org:99999/graphql",
    ]
)
HEADERS = st.sampled_from(
    [
        b"Host: 127.0.0.1",
        b"Host: example.org",
        b"Host: [::1",
        b"Host: ",
        b"Host: \xff\xfe",
        b"Content-Type: application/json",
        b"Content-Type: application/json; charset=utf-16",
        b"Content-Type: text/plain",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Type: multipart/form-data; boundary=x",
        b"Content-Type: \xff",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Length: 3",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Content-Encoding: gzip",
        b"Accept: text/event-stream",
        b"Accept: text/html",
        b"Accept: ;q=x,,,*/*;q=\xff",
        b"Accept: application/graphql-response+json;q=nan",
        b"Range: bytes=0-0",
        b"Range: bytes=-5",
        b"Range: bytes=5-1",
        b"Range: bytes=99999999999999999999999-",
        b"Range: bytes=0-1,3-4," + b"7-8," * 200,
        b"Range: pages=\xd9\xa3-",
        b"If-Range: \xff",
        b'If-None-Match: "',
        b"If-Modified-Since: never",
        b"Last-Event-ID: \xff",
        b"Last-Event-ID: bm9uZQ",
        b"Origin: null",
        b"Origin: http://[",
        b"Sec-Fetch-Site: cross-site",
        b"Cookie: daglens_token=\xff; =; ;;; daglens_token",
        b'Cookie: daglens_token="\\377"',
        b"Authorization: Bearer fails",
        b"Authorization: Bearer \xff\xfe",
        b"Authorization: Basic Og==",
        b"X-Forwarded-For: \xff, ::::",
        b"X-Forwarded-Proto: https",
        b"X-Request-Id: a b\x1b[31m",
        b"traceparent: 00-zz",
        b"Upgrade: websocket",
        b"Upgrade: h2c",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: x",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Protocol: graphql-transport-ws, \xff",
        b"Expect: 100-continue",
        b"X: " + b"x" * 70_000,
        b" folded: x",
        b": none",
        b"no colon",
        b"X\x00Y: z",
        b"X: y\rZ: w",
    ]
)
DEEP = b"[" * 100_000
BODIES = st.sampled_from(
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'"',
        b'{"query": "{version}"}',
        b'{"query": "{version}", "query": 1}',
        b'{"query": "{version}", "variables": [], "variables": {}}',
        b'{"query": "{version}", "operationName": {}}',
        b'{"query": "query A {version} query A {version}", "operationName": "A\\u0000"}',
        b'{"query": "{version}", "extensions": {"persistedQuery": {"sha256Hash": []}}}',
        b'{"query": "\\ud800{version}"}',
        b'{"query": "{version} # \\udfff", "variables": {"\\ud800": "\\udfff"}}',
        b'{"query": "query($a: JSON) {version}", "variables": {"a": ' + b"9" * 5000 + b"}}",
        b'{"query": "query($a: Int!) {runsOrError(limit: $a) {__typename}}", "variables": {"a": 1e400}}',
        b'{"query": "{version}", "variables": ' + DEEP + b"}",
        b'{"query": "' + b"{a" * 5000 + b'"}',
        b'{"query": "{ ...a } fragment a on Query { ...a }"}',
        b'{"query": "{version}", "variables": NaN}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"token=",
        b"token=dgl_%ff%00&token=x",
        b"token=" + b"a" * 20_000,
        b"3\r\n{}\n\r\n0\r\n\r\n",
        b"zz\r\n",
        b"ffffffffffffffff\r\n",
        DEEP,
    ]
)
METHODS = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"get", b"G\xff"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"PRI"])


@st.composite
def requests(draw: st.DrawFn, run_id: str, credentials: Sequence[bytes]) -> bytes:
    """A request: mostly well enough formed to get somewhere, then perhaps with a few bytes changed."""
    target = draw(TARGETS).replace("{run}", run_id).encode()
    body = draw(BODIES | st.binary(max_size=30))
    lines = [b" ".join([draw(METHODS), target, draw(VERSIONS)]), b"Host: 127.0.0.1", b"Connection: close"]
    if draw(st.integers(0, 3)):
        lines.append(draw(st.sampled_from(credentials)))
    if draw(st.integers(0, 3)):
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    lines += draw(st.lists(HEADERS, max_size=3))
    request = bytearray(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    if not draw(st.integers(0, 2)):
        for _ in range(draw(st.integers(1, 3))):
            place = draw(st.integers(0, min(len(request), 400)))
            request[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(request)


def exchange(port: int, *parts: bytes, idle_s: float = IDLE_S, upgrades: bool = False) -> bytes:
    """What the server answers to these bytes. A request that isn't whole has no answer, and nothing tells that none
    comes: after `idle_s` of silence the server is told that there will be no more, which ends what is under way.

    `upgrades`: what follows the first part is sent when that has been answered.
    """
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=idle_s) as connection:
        try:
            for number, part in enumerate(parts):
                connection.sendall(part)
                if upgrades and number == 0:
                    connection.settimeout(PATIENCE_S)
                    while b"\r\n\r\n" not in answer:
                        answer += connection.recv(1) or b"\r\n\r\n"
                    connection.settimeout(idle_s)
            _read(connection, answer)
            connection.settimeout(PATIENCE_S)
            connection.shutdown(socket.SHUT_WR)
            _read(connection, answer)
        except OSError:
            pass  # It has heard enough.
    return bytes(answer)


def _read(connection: socket.socket, answer: bytearray) -> None:
    """Read to the end, or to a silence of the connection's own timeout."""
    with contextlib.suppress(TimeoutError):
        while part := connection.recv(65_536):
            answer += part
        connection.close()
