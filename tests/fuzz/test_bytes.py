"""Whatever bytes a server is sent, on whatever route, it refuses them in good order and answers the next."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import WebSocketRoute

from tests.access.test_routes import address_of, routes_of
from tests.fuzz.raw_http import BODIES, HEADERS, METHODS, exchange, requests
from tests.fuzz.served import SECRETS, UNKNOWN_TOKEN, Fuzzed, examples
from tests.server.conftest import PATIENCE_S

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")


def port_of(served: Fuzzed) -> int:
    port = urlsplit(served.server.url).port
    assert port is not None
    return port


def credentials(served: Fuzzed) -> list[bytes]:
    tokens = [*served.tokens.values(), UNKNOWN_TOKEN]
    return [
        form % token.encode()
        for token in tokens
        for form in (b"Authorization: Bearer %s", b"Cookie: daglens_token=%s", b"Authorization: %s")
    ]


def sent(served: Fuzzed, *parts: bytes) -> list[int]:
    """The statuses of the answers, each of which is checked; of their texts what can be told apart in one stream."""
    answer = exchange(port_of(served), *parts)
    # The cookie of /login is the one answer that has a token in it, for who sent it.
    text = re.sub(rb"set-cookie: [^\r\n]*", b"", answer).decode("latin-1")
    statuses = [int(status) for status in _STATUS.findall(answer)]
    assert not answer or _STATUS.match(answer), answer[:200]
    served.check(max(statuses, default=0) if b"Bearer fails" not in b"".join(parts) else 0, text)
    assert 500 not in statuses, text
    return statuses


def test_requests(on_files: Fuzzed) -> None:
    """Requests that are nearly right: odd paths, headers that contradict each other, bodies that are no JSON."""
    seen: set[int] = set()

    @examples(400)
    @given(requests(on_files.run_id, credentials(on_files)))
    def check(request: bytes) -> None:
        seen.update(sent(on_files, request))

    check()
    # It was not all refused at the door.
    assert seen >= {200, 400, 401, 404}, seen


def test_every_route(on_files: Fuzzed) -> None:
    """Every route that the application has, with any method, headers and body, by an admin and by nobody."""
    addresses = [
        address_of(key) for key, route in routes_of(on_files.server.app) if not isinstance(route, WebSocketRoute)
    ]
    admin = b"Authorization: Bearer " + on_files.tokens["admin"].encode()

    @examples(300)
    @given(st.sampled_from(addresses), METHODS, st.lists(HEADERS, max_size=2), BODIES, st.booleans())
    def check(address: str, method: bytes, headers: list[bytes], body: bytes, known: bool) -> None:
        head = [
            b"%s %s HTTP/1.1" % (method, address.encode()),
            b"Host: localhost",
            b"Connection: close",
            *headers,
            *([admin] * known),
        ]
        head.append(b"Content-Length: %d" % len(body))
        sent(on_files, b"\r\n".join(head) + b"\r\n\r\n" + body)

    check()


def test_anything(on_files: Fuzzed) -> None:
    """Bytes at random, in several pieces."""

    @examples(100)
    @given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
    def check(parts: list[bytes]) -> None:
        sent(on_files, *parts)

    check()
    sent(on_files, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # somebody speaks TLS
    sent(on_files, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000)


def test_downloads(on_files: Fuzzed) -> None:
    """No path of a download leads out of the run's folders, whatever it is made of."""
    run_id = on_files.run_id
    admin = b"Authorization: Bearer " + on_files.tokens["admin"].encode()
    up = ["..", ".", "%2e%2e", "%2E.", "/", "//", "%2f", "%5c", "\\", "%00", "%25", "~", "%ff"]
    there = ["report.html", "artifacts", "compute-logs", "extract", "stdout", "tokens", "dagster.yaml", run_id]
    pieces = st.sampled_from(up + there)

    @examples(200)
    @given(st.lists(pieces, max_size=10), st.booleans())
    def check(parts: list[str], below: bool) -> None:
        path = f"/runs/{run_id}/artifacts/" if below else "/runs/"
        path += "".join(parts) if below else "/".join(parts)
        request = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n\r\n" % (path.encode(), admin)
        answer = exchange(port_of(on_files), request, idle_s=PATIENCE_S)
        (status,) = (int(status) for status in _STATUS.findall(answer))
        assert status in (200, 400, 404, 405), (path, status)
        on_files.check(status, answer.decode("latin-1"))
        assert b"sha256:" not in answer and b"SQLite format" not in answer and b"secret_word" not in answer, path

    check()


def test_forms(on_files: Fuzzed) -> None:
    """Signing in with anything: only a token does, and what was sent isn't shown again."""
    viewer = on_files.tokens["viewer"]

    @examples(60)
    @given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.sampled_from([b"token=", b"", b"&token="]))
    def check(text: bytes, name: bytes) -> None:
        body = name + text
        answer = on_files.http.post(
            "/login", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        on_files.check(answer.status_code, answer.text, str(answer.headers))

    check()
    answer = on_files.http.post("/login", data={"token": viewer})
    assert answer.status_code == 303
    assert viewer in answer.headers["set-cookie"]
    on_files.http.cookies.clear()


def test_an_authenticator_that_fails(on_files: Fuzzed) -> None:
    """Its error is answered with 503, and neither its message, which has its secret, nor the token are in the log."""
    answer = on_files.http.get("/graphql?query={version}", headers={"authorization": "Bearer fails"})
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["extensions"]["code"] == "ACCESS_UNAVAILABLE"
    on_files.check(503, answer.text, out_of_order=True)
    assert SECRETS["secret_word"] not in json.dumps(answer.json())
