"""Signing in, and what keeps other sites' pages out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest

from daglens.access.token_file import remove_token
from daglens.server.admission import COOKIE
from daglens.testing.server import LiveServer
from tests.access.conftest import UNKNOWN, client_of
from tests.access.test_routes import address_of, method_of, routes_of
from tests.server.conftest import LEGACY, TRANSPORT, Serve, opened

QUERY = "/graphql?query={version}"
BODY = {"query": "{ version }"}


def sign_in(http: httpx.Client, token: str, **headers: str) -> httpx.Response:
    """Send the form of the page."""
    return http.post("/login", data={"token": token}, headers=headers)


def next_of(answer: httpx.Response) -> str:
    """Where the form of the page leads."""
    (value,) = re.findall(r'name="next" value="([^"]*)"', answer.text)
    return unescape(value)


def cookie_set(answer: httpx.Response) -> str:
    """The cookie that an answer sets, as a browser sends it back."""
    return f"{COOKIE}={SimpleCookie(answer.headers['set-cookie'])[COOKIE].value}"


def test_signing_in_and_out(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """The page takes a token and leads to GraphiQL; the cookie then lets in, until one signs out."""
    with client_of(guarded) as http:
        page = http.get("/login")
        assert (page.status_code, 'name="token"' in page.text) == (200, True)
        answer = sign_in(http, tokens["viewer"], origin=guarded.url)
        assert (answer.status_code, answer.headers["location"]) == (303, "/graphiql")
        assert http.get(QUERY).status_code == 200
        assert http.get("/graphiql").status_code in (200, 503)
        assert "Signed in as viewer: viewer." in http.get("/login").text
        assert http.post("/logout", headers={"origin": guarded.url}).headers["location"] == "/login"
        assert http.get(QUERY).status_code == 401


@pytest.mark.parametrize("prefix", ["", "/daglens"])
def test_signing_in_leads_back(serve: Serve, tokens: Mapping[str, str], tokens_file: Path, prefix: str) -> None:
    """Who opened an address and was asked for a token gets there by it, also after a wrong one."""
    wanted = "/runs/a%20b/compute-logs/load/stderr?attempt=2&x=%22"
    server = serve(tokens=tokens_file, path_prefix=prefix)
    with client_of(server) as http:
        asked = http.get(f"{prefix}{wanted}", headers={"accept": "text/html"})
        address = asked.headers["location"]
        assert (asked.status_code, address.partition("?")[0]) == (303, f"{prefix}/login")
        form = {"next": next_of(http.get(address))}
        again = http.post(f"{prefix}/login", data={"token": UNKNOWN, **form})
        assert next_of(again) == form["next"]
        answer = http.post(f"{prefix}/login", data={"token": tokens["viewer"], **form})
        assert answer.headers["location"] == f"{prefix}{wanted}"
        for start in ("/", "/graphiql"):
            http.cookies.clear()
            plain = http.get(f"{prefix}{start}", headers={"accept": "text/html"})
            assert plain.headers["location"] == f"{prefix}/login"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "/\r\nset-cookie: x=y",
        "/.//evil.example",
        "/%2e%2e//evil.example",
        "/../other",
        "/login",
        "/login?next=/x",
        "/logout",
        "/ü",
        '/"><script>',
        "/a#b",
        "/" + "x" * 2000,
        "",
    ],
)
def test_signing_in_leads_nowhere_else(guarded: LiveServer, tokens: Mapping[str, str], elsewhere: str) -> None:
    """A link to the page can't send whoever signs in to another server, by any writing of it."""
    with client_of(guarded) as http:
        assert next_of(http.get("/login", params={"next": elsewhere})) == "/graphiql"
        answer = http.post("/login", data={"token": tokens["viewer"], "next": elsewhere})
        assert (answer.status_code, answer.headers["location"]) == (303, "/graphiql")


def test_graphiql_knows_who_can_sign_out(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """Whoever signed in at the page; who comes by a header has nothing to sign out of."""
    with client_of(guarded) as http:
        by_header = http.get("/graphiql/examples.json", headers={"authorization": f"Bearer {tokens['viewer']}"})
        assert by_header.json()["session"] is None
        sign_in(http, tokens["viewer"])
        assert http.get("/graphiql/examples.json").json()["session"] == {"name": "viewer", "role": "viewer"}


@pytest.mark.parametrize(
    ("prefix", "proto", "secure"), [("", "http", False), ("", "https", True), ("/daglens", "https", True)]
)
def test_the_cookie(
    serve: Serve, tokens: Mapping[str, str], tokens_file: Path, prefix: str, proto: str, secure: bool
) -> None:
    """No page reads it, no other site's page sends it, it is kept to our path, to TLS where there is, and not for
    longer than the browser runs."""
    server = serve(tokens=tokens_file, path_prefix=prefix)
    with client_of(server) as http:
        answer = sign_in(http, tokens["viewer"], **{"x-forwarded-proto": proto})
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"].lower(), cookie["path"]) == (True, "strict", f"{prefix}/")
    assert (bool(cookie["secure"]), cookie["max-age"], cookie["expires"]) == (secure, "", "")
    assert answer.headers["location"] == f"{prefix}/graphiql"


def test_tokens_that_are_refused(guarded: LiveServer) -> None:
    """A token that isn't known sets no cookie, and is nowhere in the page; what is too large or no form is refused."""
    with client_of(guarded) as http:
        for token in (UNKNOWN, "", "é", "<script>alert(1)</script>", "a\r\nset-cookie: x=y"):
            answer = sign_in(http, token)
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
            assert not token or token not in answer.text
        assert sign_in(http, "x" * 20_000).status_code == 413
        assert http.post("/login", json={"token": UNKNOWN}).status_code == 415


def test_pages_of_other_sites(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """Another site's page signs nobody in or out, and sends nothing by a cookie."""
    with client_of(guarded) as http:
        cookie = cookie_set(sign_in(http, tokens["admin"]))
        evil = {"origin": "https://evil.example", "cookie": cookie}
        assert sign_in(http, tokens["admin"], **evil).status_code == 403
        assert http.post("/logout", headers=evil).status_code == 403
        assert http.post("/graphql", json=BODY, headers=evil).status_code == 403


def test_the_cookie_counts_for_changes_only_beside_an_origin(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """What reads may come by the cookie alone; what changes something needs a browser's word which page asks."""
    with httpx.Client(base_url=guarded.url) as http:
        cookie = {"cookie": cookie_set(sign_in(http, tokens["admin"]))}
        http.cookies.clear()
        assert http.get(QUERY, headers=cookie).status_code == 200
        assert http.post("/graphql", json=BODY, headers=cookie).status_code == 401
        for word in ({"origin": guarded.url}, {"sec-fetch-site": "same-origin"}):
            assert http.post("/graphql", json=BODY, headers={**cookie, **word}).status_code == 200


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_sockets_by_cookie(guarded: LiveServer, tokens: Mapping[str, str], protocol: str) -> None:
    """A page of ours needs no payload; a token in the payload stands before the cookie; another site's page gets no
    socket."""
    with client_of(guarded) as http:
        cookie = {"Cookie": cookie_set(sign_in(http, tokens["viewer"]))}
    with opened(guarded, protocol, origin=guarded.url, additional_headers=cookie) as socket:
        socket.start("{ version }")
        assert socket.result()["data"]["version"]
    for headers, payload, code in ((cookie, {"Authorization": f"Bearer {UNKNOWN}"}, 4403), (cookie, None, 4401)):
        origin = guarded.url if payload else None
        with opened(guarded, protocol, init=False, origin=origin, additional_headers=headers) as socket:
            socket.send({"type": "connection_init", "payload": payload})
            assert socket.close_code() == code


def test_bodies_are_json(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """What a form of another site could send is refused at every route that takes POST but the page's own."""
    with client_of(guarded, tokens["admin"]) as http:
        for key, route in routes_of(guarded.app):
            if "POST" not in (getattr(route, "methods", None) or ()) or key in ("/login", "/logout"):
                continue
            for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""):
                answer = http.post(key, content=b'{"query": "{ version }"}', headers={"content-type": kind})
                assert answer.status_code == 415, (key, kind)


@pytest.mark.parametrize("asker", ["nobody", "admin"])
def test_security_headers(guarded: LiveServer, tokens: Mapping[str, str], asker: str) -> None:
    """Every answer of every route has them, refusals too; nothing is shown in a frame."""
    with client_of(guarded, tokens.get(asker)) as http:
        answers = [
            http.request(method_of(route), address_of(key))
            for key, route in routes_of(guarded.app)
            if not key.startswith("websocket")
        ]
        answers += [
            http.get("/nothing"),
            http.delete("/graphql"),
            http.get("/healthz", headers={"host": "evil.example"}),
            http.post("/graphql", content=b"{"),
            http.post("/graphql", json=BODY, headers={"origin": "https://evil.example"}),
        ]
    for answer in answers:
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff", answer.url
        assert headers["referrer-policy"] in ("no-referrer", "same-origin")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy or "sandbox" in policy
        assert headers["x-frame-options"] == "DENY"
        assert "strict-transport-security" not in headers
        assert "access-control-allow-origin" not in headers


def test_answers_are_kept_by_nobody(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """What only some may see is not kept by caches."""
    with client_of(guarded, tokens["viewer"]) as http, client_of(guarded) as stranger:
        for path in (QUERY, "/graphiql/examples.json"):
            assert http.get(path).headers["cache-control"] == "no-store"
        assert stranger.get(QUERY).headers["cache-control"] == "no-store"
        assert stranger.get("/login").headers["cache-control"] == "no-store"


def test_a_refusal_can_be_read_by_listed_pages(serve: Serve, tokens_file: Path, tokens: Mapping[str, str]) -> None:
    """A page of a listed origin is asked nothing before it may ask (preflight), and can read why it is refused."""
    page = "https://front.example.org"
    server = serve(tokens=tokens_file, allowed_origins=(page,))
    with client_of(server) as http:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        assert http.options("/graphql", headers={"origin": page, **asked}).status_code == 200
        answer = http.post("/graphql", json=BODY, headers={"origin": page})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, page)
        assert "access-control-allow-credentials" not in answer.headers


def test_a_session_ends_with_its_token(guarded: LiveServer, tokens: Mapping[str, str], tokens_file: Path) -> None:
    """The cookie holds what the token does, and no longer."""
    with client_of(guarded) as http:
        sign_in(http, tokens["viewer"])
        remove_token(tokens_file, "viewer")
        assert http.get(QUERY).status_code == 401
        assert "Signed in" not in http.get("/login").text
