"""Who gets in at which route. A route without a rule is not served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

from starlette.routing import BaseRoute, Match, Mount, WebSocketRoute
from starlette.types import Scope


class Rule(Enum):
    """What it takes to be answered at a route."""

    OPEN = auto()
    """Nothing."""
    VIEWER = auto()
    """To be known: every role may read. What changes something asks again (`schema.mutation_rules`)."""
    SOCKET = auto()
    """A handshake by anybody; then to be known by the end of `connection_init`."""


RULES: Final[Mapping[str, Rule]] = {
    "/graphql": Rule.VIEWER,
    "websocket /graphql": Rule.SOCKET,
    "/schema.graphql": Rule.VIEWER,
    "/runs/*": Rule.VIEWER,
    "/": Rule.VIEWER,
    "/graphiql": Rule.VIEWER,
    "/graphiql/": Rule.VIEWER,
    "/graphiql/examples.json": Rule.VIEWER,
    # The same files for everybody, out of the package; the page for signing in needs some of them.
    "/graphiql/assets/*": Rule.OPEN,
    "/graphiql/page/*": Rule.OPEN,
    "/favicon.ico": Rule.OPEN,
    "/login": Rule.OPEN,
    "/logout": Rule.OPEN,
    # Asked by what has no token: init systems, load balancers. What is wrong is told to those only who are known.
    "/healthz": Rule.OPEN,
    "/readyz": Rule.OPEN,
    "/metrics": Rule.VIEWER,
}
"""By route, as `key_of` names it."""


class RouteWithoutRule(Exception):
    """A route was added and nobody said who gets in there: see `RULES`."""


def key_of(route: BaseRoute) -> str:
    """A route's name in `RULES`: its path; `*` stands for everything below it."""
    path = getattr(route, "path", type(route).__name__)
    if isinstance(route, Mount):
        return f"{path}/*"
    return f"websocket {path}" if isinstance(route, WebSocketRoute) else str(path)


def check_rules(routes: Iterable[BaseRoute]) -> None:
    """Make sure that each route has a rule.

    Raises:
        RouteWithoutRule
    """
    for route in routes:
        if key_of(route) not in RULES:
            raise RouteWithoutRule(key_of(route))


def key_for(routes: Iterable[BaseRoute], scope: Scope) -> str | None:
    """The key of the route that answers; None where nothing is."""
    partial = None
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return key_of(route)
        if match is Match.PARTIAL and partial is None:
            partial = route
    return None if partial is None else key_of(partial)


def rule_of(key: str | None) -> Rule | None:
    """The rule of the route of this key; None where it has none. Where nothing is, one has to be known to hear so."""
    return Rule.VIEWER if key is None else RULES.get(key)
