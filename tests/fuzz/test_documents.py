"""Whatever document fits the schema, the answer is a result or errors with codes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from graphql import introspection_from_schema
from hypothesis import given
from hypothesis import strategies as st

from daglens.schema.build import build_schema
from tests.fuzz.documents import aimed, operations
from tests.fuzz.served import Fuzzed, check_result, examples

DOCUMENTS = operations(introspection_from_schema(build_schema()._schema))
CURSORS = "query($id: ID!) { runEventsOrError(runId: $id, limit: 3) { ... on EventPage { cursor } } \
runsOrError(limit: 1) { ... on RunPage { cursor } } }"


def cursors(served: Fuzzed) -> list[str]:
    """Cursors that the server has given out, and one that it has not."""
    answer = served.post({"query": CURSORS, "variables": {"id": served.run_id}}).json()
    given = [page["cursor"] for page in answer["data"].values() if page and page["cursor"]]
    assert len(given) == 2
    # What begins as one of ours, and goes on as no JSON, no base64, or as nothing.
    return [*given, *(cursor.partition(".")[0] + rest for cursor in given for rest in (".bm9uZQ", ".!", "."))]


def check_documents(served: Fuzzed, field: str, count: int) -> None:
    known = cursors(served)
    reached: set[str] = set()

    @examples(count)
    @given(DOCUMENTS[field], st.data())
    def check(document: str, data: st.DataObject) -> None:
        query = aimed(document, data.draw, served.run_id, known)
        result = answered(served.post({"query": query}))
        check_result(result)
        reached.update(key for key, value in (result.get("data") or {}).items() if value is not None)

    check()
    assert reached, f"{field} was never answered"


def answered(answer: httpx.Response) -> Any:
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("field", DOCUMENTS)
def test_on_files(on_files: Fuzzed, field: str) -> None:
    """Every query and mutation, on SQLite and files."""
    check_documents(on_files, field, 12)


@pytest.mark.parametrize("field", DOCUMENTS)
def test_on_postgres(on_postgres: Fuzzed, field: str) -> None:
    """The same on PostgreSQL and a bucket."""
    check_documents(on_postgres, field, 8)
