"""The GraphiQL page: complete without any network but the server. (tests/system opens it in a browser.)"""

from __future__ import annotations

import json
import re
from pathlib import Path

import graphql
import httpx
import pytest

from daglens.instance import Instance
from daglens.server import graphiql_page
from daglens.server.graphiql_page import NEEDED_ASSETS, operation_texts, variables_of
from tests.server.conftest import Serve, create, write


@pytest.mark.parametrize("path", ["/", "/graphiql"])
def test_page(http: httpx.Client, path: str) -> None:
    """The page names only files of this server, by relative addresses, and all of them are there."""
    page = http.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {name.rpartition("/")[2] for name in named} >= {*NEEDED_ASSETS, "boot.js"}
    for name in named:
        assert not name.startswith(("/", "http"))
        answer = http.get(f"/{name}")
        assert answer.status_code == 200
        if name.startswith("graphiql/"):
            again = http.get(f"/{name}", headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304


def test_missing_assets(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files of GraphiQL are gone, the page says to install again; the API works."""
    for name in NEEDED_ASSETS[1:]:
        (tmp_path / name).write_text("x")
    monkeypatch.setattr(graphiql_page.GraphiQLPage.__init__, "__kwdefaults__", {"assets": tmp_path})
    server = serve()
    page = httpx.get(f"{server.url}/graphiql")
    assert page.status_code == 503
    assert "Install again" in page.text
    assert httpx.get(f"{server.url}/schema.graphql").status_code == 200


def test_examples(http: httpx.Client, instance: Instance) -> None:
    """The examples are the documents of daglens/graphql/operations, the run list first; all are valid here."""
    schema = graphql.build_schema(http.get("/schema.graphql").text)
    examples = http.get("/graphiql/examples.json").json()
    assert len(examples["tabs"]) == len(operation_texts()) - 1 > 5
    assert "query RunsPage" in examples["tabs"][0]["query"]
    for tab in examples["tabs"]:
        document = graphql.parse(f"{tab['query']}\n{examples['fragments']}")
        rules = [rule for rule in graphql.specified_rules if rule is not graphql.NoUnusedFragmentsRule]
        assert graphql.validate(schema, document, rules) == []


def test_examples_know_the_newest_run(http: httpx.Client, instance: Instance) -> None:
    """Variables are filled in from the newest run, so that an example works as it stands."""
    create(instance, "older")
    create(instance, "newest")
    write(instance, 1, "newest")
    tabs = http.get("/graphiql/examples.json").json()["tabs"]
    values = {json.loads(tab["variables"]).get("runId") for tab in tabs}
    assert values <= {"newest", None}
    assert "newest" in values


def test_variables() -> None:
    """Only variables without a default that must be given are filled in."""
    text = "query($runId: ID!, $limit: Int! = 5, $after: Cursor, $other: X!) { a }"
    assert variables_of(text, {"runId": "r", "limit": 1, "after": "c"}) == {"runId": "r"}


def test_other_addresses(http: httpx.Client) -> None:
    """A slash too many is mended, the favicon is served, and what isn't there is 404 as JSON."""
    assert http.get("/graphiql/").headers["location"] == "/graphiql"
    assert http.get("/favicon.ico").headers["content-type"].startswith("image/svg+xml")
    for path in (
        "/nothing",
        "/graphiql/assets/nothing.js",
        "/graphiql/assets/../../app.py",
        "/graphiql/page/%2e%2e/app.py",
    ):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (404, "NOT_FOUND")
