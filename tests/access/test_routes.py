"""Every route and socket of the application, asked by everybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from daglens.access import Role
from daglens.instance import Instance
from daglens.server.app import create_app
from daglens.server.rules import RULES, RouteWithoutRule, Rule, check_rules, key_of
from daglens.storage.records import Health
from daglens.testing.server import LiveServer
from tests.access.conftest import NOBODY, STRANGER, UNKNOWN, bearer, client_of
from tests.server.conftest import LEGACY, TRANSPORT, create, opened

ASKERS = (NOBODY, STRANGER, *Role)
NOT_BUILT_YET = {"/metrics"}


def routes_of(app: Starlette) -> list[tuple[str, Any]]:
    """All routes of the application, each with the name under which its rule stands."""
    return [(key_of(route), route) for route in app.routes]


def address_of(key: str) -> str:
    """An address at which a route answers."""
    return {"/graphql": "/graphql?query={version}", "/runs/*": "/runs/run/compute-logs/s/stdout"}.get(
        key, key.replace("/*", "/page.css")
    )


def method_of(route: Any) -> str:
    """GET, where the route takes it."""
    return "POST" if isinstance(route, Route) and "GET" not in (route.methods or ()) else "GET"


def seen(http: httpx.Client, route: Any, key: str) -> str:
    """What somebody meets at a route: `let in`, or the status and code with which they are refused."""
    answer = http.request(method_of(route), address_of(key))
    if answer.status_code not in (401, 403):
        return "let in"
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    return f"{answer.status_code} {answer.json()['errors'][0]['extensions']['code']}"


def seen_by_socket(server: LiveServer, protocol: str, token: str | None) -> str:
    """What somebody meets who opens a socket and says who they are: `let in`, or the code it is closed with."""
    with opened(server, protocol, init=False) as socket:
        socket.send({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"} if token else None})
        message = socket.receive() if protocol == LEGACY else None
        if message == {"type": "connection_ack"}:
            return "let in"
        if message is not None:
            assert message["type"] == "connection_error"
            assert message["payload"]["code"] == "UNAUTHENTICATED"
        return str(socket.close_code() or "let in") if protocol == LEGACY else seen_by_start(socket)


def seen_by_start(socket: Any) -> str:
    """As `seen_by_socket`, of who begins an operation: the close may come before it was sent, or after."""
    from websockets.exceptions import ConnectionClosed

    try:
        socket.start("{ version }")
        while socket.receive()["type"] != "complete":
            pass
    except ConnectionClosed:
        return str(socket.connection.protocol.close_code)
    return "let in"


def expected(rule: Rule, asker: str) -> str:
    """What a rule says of somebody."""
    if rule is Rule.OPEN or asker in tuple(Role):
        return "let in"
    if rule is Rule.SOCKET:
        return "4401" if asker == NOBODY else "4403"
    return "401 UNAUTHENTICATED"


def test_every_route_and_every_role(guarded: LiveServer, tokens: Mapping[str, str], instance: Instance) -> None:
    """Each route of the application has a rule, and lets in exactly those whom it says; the table is printed."""
    create(instance)
    given = {NOBODY: None, STRANGER: UNKNOWN, **tokens}
    table: dict[str, list[str]] = {}
    for key, route in routes_of(guarded.app):
        name = f"{method_of(route)} {key}"
        for asker in ASKERS:
            if isinstance(route, WebSocketRoute):
                for protocol in (TRANSPORT, LEGACY):
                    met = seen_by_socket(guarded, protocol, given[asker])
                    table.setdefault(f"{key} {protocol}", []).append(met)
                    assert met == expected(RULES[key], asker), (key, protocol, asker)
            else:
                with client_of(guarded, given[asker]) as http:
                    met = seen(http, route, key)
                table.setdefault(name, []).append(met)
                assert met == expected(RULES[key], asker), (key, asker)
    print(f"\n{'':34}" + "".join(f"{asker:>22}" for asker in ASKERS))
    for key, row in sorted(table.items()):
        print(f"{key:34}" + "".join(f"{met:>22}" for met in row))
    assert len(table) >= 16


def test_no_rule_without_a_route(guarded: LiveServer) -> None:
    """What the table of rules names is there."""
    assert set(RULES) - {key for key, _ in routes_of(guarded.app)} <= NOT_BUILT_YET


def test_a_new_route_needs_a_rule(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """An application with a route that nobody wrote a rule for isn't made; added later, it answers nobody."""
    for route in (Route("/new", _hello), Mount("/new", routes=[]), WebSocketRoute("/new", _hello)):
        with pytest.raises(RouteWithoutRule, match="/new"):
            check_rules([*guarded.app.routes, route])
    guarded.on_loop(lambda: guarded.app.router.routes.append(Route("/new", _hello)))
    with client_of(guarded, tokens["admin"]) as http:
        answer = http.get("/new")
        assert (answer.status_code, answer.text.count("hello")) == (403, 0)


async def _hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_where_nothing_is(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """Who isn't known hears nothing of which addresses there are, and of methods they take."""
    with client_of(guarded) as http, client_of(guarded, tokens["viewer"]) as known:
        for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/graphql", 405), ("POST", "/runs/a", 405)):
            assert http.request(method, path).status_code == 401
            assert known.request(method, path).status_code == status


def test_a_browser_is_sent_to_sign_in(guarded: LiveServer) -> None:
    """An address that is opened in a browser leads to the page for signing in; a program is told 401."""
    with client_of(guarded) as http:
        for path, address in (
            ("/", "/login"),
            ("/graphiql", "/login"),
            ("/graphql", "/login?next=/graphql"),
            ("/runs/a/artifacts/b", "/login?next=/runs/a/artifacts/b"),
        ):
            answer = http.get(path, headers={"accept": "text/html,*/*;q=0.8"})
            assert (answer.status_code, answer.headers["location"]) == (303, address)


def test_what_probes_are_told(
    guarded: LiveServer, instance: Instance, tokens: Mapping[str, str], monkeypatch: Any
) -> None:
    """/healthz and /readyz answer without a token; what is wrong with a storage is told to those who are known."""
    monkeypatch.setattr(type(instance.runs), "health", lambda self: Health(False, "The disk is gone."))
    with client_of(guarded) as http, client_of(guarded, tokens["viewer"]) as known:
        assert http.get("/healthz").status_code == 200
        for asked, told in ((http, False), (known, True)):
            answer = asked.get("/readyz")
            assert answer.status_code == 503
            assert (answer.json()["problems"]["run_storage"] == "The disk is gone.") is told


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": "Basic {viewer}"},
        {"authorization": "{viewer}"},
        {"authorization": "Bearer {viewer}x"},
        {"authorization": "Bearer {viewer}, Bearer {viewer}"},
        {"x-forwarded-user": "viewer"},
        {"cookie": "daglens_token={viewer}x"},
        {"authorization": "Bearer nonesuch", "cookie": "daglens_token={viewer}"},
    ],
    ids=str,
)
def test_what_is_no_token(guarded: LiveServer, tokens: Mapping[str, str], headers: dict[str, str]) -> None:
    """Nothing but a whole token in its place lets in; one that is named stands before the cookie."""
    sent = {name: value.format(**tokens) for name, value in headers.items()}
    assert httpx.get(f"{guarded.url}/graphql?query={{version}}", headers=sent).status_code == 401


def test_never_in_an_address(guarded: LiveServer, tokens: Mapping[str, str]) -> None:
    """A token in the address lets nobody in, whatever it is called there."""
    for name in ("token", "access_token", "authorization", "daglens_token"):
        answer = httpx.get(f"{guarded.url}/graphql", params={"query": "{version}", name: tokens["admin"]})
        assert answer.status_code == 401
        assert tokens["admin"] not in answer.text


def test_without_access_control(serve: Any, instance: Instance) -> None:
    """A server without tokens lets everybody in everywhere, and there is nothing to sign in to."""
    server = serve()
    with client_of(server) as http:
        assert http.get("/graphql?query={version}").status_code == 200
        assert http.get("/login").headers["location"] == "/graphiql"
    assert all(key in RULES for key, _ in routes_of(create_app(instance)))


def test_the_answer_is_of_the_type_that_was_asked_for(guarded: LiveServer) -> None:
    """401 comes as `application/graphql-response+json` where a client takes that, with errors as GraphQL has them."""
    accept = "application/graphql-response+json"
    answer = httpx.post(f"{guarded.url}/graphql", json={"query": "{version}"}, headers={"accept": accept})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith(accept)
    assert "data" not in answer.json()
    wrong = httpx.post(f"{guarded.url}/graphql", json={"query": "{version}"}, headers=bearer(UNKNOWN))
    assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
