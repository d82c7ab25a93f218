"""Artifacts over the API."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import Api

PAGE = """
query Page($id: ID! = "r", $limit: Int! = 100, $after: Cursor) { runOrError(runId: $id) { ... on Run {
  artifacts(limit: $limit, after: $after) { nodes { path sizeBytes modifiedAt downloadUrl } cursor hasMore }
} } }
"""


async def page(api: Api, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(PAGE, **variables))["runOrError"]["artifacts"]
    return found


async def test_artifacts_of_a_run(api: Api) -> None:
    """Path, size, time and an address below the server's prefix, in order of path."""
    api.add("r")
    api.artifacts.inner.put("r", "reports/census 2026#1.html", 2**40)
    api.artifacts.inner.put("r", "a.txt")
    api.url_prefix = "/p"
    assert (await page(api))["nodes"] == [
        {
            "path": "a.txt",
            "sizeBytes": "0",
            "modifiedAt": "2023-11-14T22:13:20.000000Z",
            "downloadUrl": "/p/runs/r/artifacts/a.txt",
        },
        {
            "path": "reports/census 2026#1.html",
            "sizeBytes": "1099511627776",
            "modifiedAt": "2023-11-14T22:13:20.000000Z",
            "downloadUrl": "/p/runs/r/artifacts/reports/census%202026%231.html",
        },
    ]


async def test_pages(api: Api) -> None:
    """Pages add up; files that come later come behind the last cursor; limits hold."""
    api.add("r")
    for name in "cab":
        api.artifacts.inner.put("r", name)
    found, paths = await page(api, limit=0), []
    assert (found["nodes"], found["hasMore"]) == ([], True)
    while found["hasMore"]:
        found = await page(api, limit=2, after=found["cursor"])
        paths += [node["path"] for node in found["nodes"]]
    assert paths == ["a", "b", "c"]
    assert (await page(api, after=found["cursor"]))["nodes"] == []
    api.artifacts.inner.put("r", "d")
    assert [node["path"] for node in (await page(api, after=found["cursor"]))["nodes"]] == ["d"]
    await page(api, limit=2**31 - 1)
    assert api.artifacts.asked[-1][1][2] == 1000
    assert (await api.ask(PAGE, {"limit": -1})).codes == ["BAD_LIMIT"]


async def test_a_cursor_belongs_to_a_run(api: Api) -> None:
    """A cursor of another run's artifacts, or none, is INVALID_CURSOR."""
    api.add("r")
    api.add("s")
    cursor = (await page(api, id="s"))["cursor"]
    for bad in (cursor, "", "x"):
        answer = await api.ask(PAGE, {"after": bad})
        assert (answer.data["runOrError"], answer.codes) == ({"artifacts": None}, ["INVALID_CURSOR"])
