"""Downloads in a real browser."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page

import daglens
from daglens.instance import Instance
from tests.system.conftest import Server

pytestmark = pytest.mark.system

QUERY = """{ runOrError(runId: "..") { ... on Run {
  computeLogs { stepKey stdout { downloadUrl } } artifacts { nodes { downloadUrl } }
} } }"""
ASK = """async (query) => {
  const body = JSON.stringify({ query });
  const answer = await fetch("graphql", { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await answer.json()).data.runOrError;
}"""
FETCH = "async (url) => { const answer = await fetch(url); return [answer.status, await answer.text()]; }"


def test_what_is_called_like_a_step_up(server: Server, page: Page) -> None:
    """A browser shortens `..` in a path, `%2E%2E` as well; the addresses that it is given work."""
    with Instance.open(home=server.home) as instance, daglens.start_run("p", run_id="..", instance=instance) as run:
        for step_key in (".", "..", "extract"):
            with run.step(step_key):
                print(f"line of {step_key}")
        run.artifact_path("report.txt").write_text("report")
    page.goto(f"{server.url}/graphiql")
    told = page.evaluate(ASK, QUERY)
    logs = {log["stepKey"]: log["stdout"]["downloadUrl"] for log in told["computeLogs"]}
    assert sorted(logs) == [".", "..", "extract"]
    for step_key, url in logs.items():
        assert page.evaluate(FETCH, urljoin(server.url, url)) == [200, f"line of {step_key}\n"], url
    (artifact,) = told["artifacts"]["nodes"]
    assert page.evaluate(FETCH, urljoin(server.url, artifact["downloadUrl"])) == [200, "report"]
