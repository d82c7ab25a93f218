"""The page at `/graphiql` and `/`, its files, and the examples it opens with."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from daglens.server.admission import admission_of, cookie_of, headers_of
from daglens.server.answers import JSON_TYPE, json_bytes
from daglens.server.served import Served
from daglens.storage.errors import DaglensError
from daglens.storage.records import RunFilter, RunParts

log = logging.getLogger("daglens.server")

PAGE = Path(__file__).parent / "graphiql"
ASSETS = Path(__file__).parent / "assets"
OPERATIONS = Path(__file__).parent.parent / "graphql" / "operations"

NEEDED_ASSETS = (
    "graphiql.min.css",
    "react.production.min.js",
    "react-dom.production.min.js",
    "graphiql.min.js",
)
"""In the order that the page loads them; hatch_build.py puts them in place."""

FIRST_TABS = ("runs-page", "last-failure", "what-failed", "run-page", "run-events-live", "compute-log-live")
"""Examples that come first, in this order; the others follow by name."""

_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_VARIABLE = re.compile(r"\$(\w+)\s*:\s*(\w+)!(?!\s*=)")


class GraphiQLPage:
    """The page of one server."""

    def __init__(self, served: Served, *, assets: Path = ASSETS) -> None:
        self._served = served
        self._assets = assets

    def routes(self) -> list[BaseRoute]:
        """Page, files, examples."""
        return [
            Route("/", self.page),
            Route("/graphiql", self.page),
            Route("/graphiql/", self._without_slash),
            Route("/graphiql/examples.json", self.examples),
            Mount("/graphiql/assets", _Files(directory=self._assets, check_dir=False)),
            Mount("/graphiql/page", _Files(directory=PAGE)),
            Route("/favicon.ico", self._favicon),
        ]

    async def page(self, request: Request) -> Response:
        """GraphiQL; 503 with what to do where its files are missing."""
        complete = all((self._assets / name).is_file() for name in NEEDED_ASSETS)
        text = (PAGE / ("page.html" if complete else "missing.html")).read_bytes()
        return Response(text, 200 if complete else 503, _HEADERS, "text/html; charset=utf-8")

    async def examples(self, request: Request) -> Response:
        """The tabs that the page opens with, their variables filled in from the newest run, and who has signed in."""
        known = await self._known_values()
        texts = operation_texts()
        fragments = texts.pop("fragments", "")
        tabs = [
            {"query": text, "variables": json.dumps(variables_of(text, known), indent=2)} for text in texts.values()
        ]
        body = {"tabs": tabs, "fragments": fragments, "session": self._session(request)}
        return Response(json_bytes(body), headers={"content-type": JSON_TYPE, "cache-control": "no-store"})

    def _session(self, request: Request) -> dict[str, str | None] | None:
        """Who has signed in at `/login` and so can sign out; None where nobody did."""
        if self._served.gate.is_open or cookie_of(headers_of(request.scope)) is None:
            return None
        known = admission_of(request.scope).known
        return None if known is None else {"name": known.name, "role": known.role}

    async def _known_values(self) -> dict[str, Any]:
        calls = self._served.calls
        known: dict[str, Any] = {"ioType": "STDOUT", "runId": "", "stepKey": ""}
        try:
            newest = await calls.runs(lambda runs: runs.page(RunFilter(), limit=1, parts=RunParts.NONE))
            if newest.runs:
                run_id = known["runId"] = newest.runs[0].run_id
                steps = await calls.events(lambda events: events.steps([run_id], limit=1))
                known["stepKey"] = next((step.step_key for step in steps.get(run_id, ())), "")
        except DaglensError as error:
            # The page is worth having without them, most of all now.
            log.warning("The examples of GraphiQL have no run's id: %s", error)
        return known

    async def _without_slash(self, request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/graphiql", 308)

    async def _favicon(self, request: Request) -> Response:
        return Response((PAGE / "favicon.svg").read_bytes(), headers=_HEADERS, media_type="image/svg+xml")


class _Files(StaticFiles):
    """Files that a browser asks about each time, and may keep as long as they are the same (ETag)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """See StaticFiles."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        response.headers["x-content-type-options"] = "nosniff"
        return response


def operation_texts() -> dict[str, str]:
    """The example documents by name, in the order of the tabs; with `fragments`, which some of them use."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(OPERATIONS.glob("*.graphql"))}
    first = [name for name in FIRST_TABS if name in texts]
    return {name: texts[name] for name in (*first, *(name for name in texts if name not in first))}


def variables_of(text: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the variables that a document's operations can't do without, as far as they are known."""
    return {name: known[name] for name, _ in _VARIABLE.findall(text) if name in known}
