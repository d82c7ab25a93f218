"""What a server keeps of the documents it was sent."""

from __future__ import annotations

import gc
from uuid import uuid4

import httpx
import pytest
from graphql import Source

from daglens.instance import Instance
from daglens.schema.documents import MOST_CACHED_CHARS
from tests.server.conftest import create

RUNS = "{ runsOrError { ... on RunPage { nodes { runId status } } } }"


def held(mark: str) -> int:
    """How many documents with a mark in them this process holds, in which the server runs."""
    gc.collect()
    return sum(isinstance(one, Source) and mark in one.body for one in gc.get_objects())


@pytest.mark.parametrize(
    ("sign", "length", "kept"), [("x", 100, True), ("x", MOST_CACHED_CHARS, False), ("\U0001f600", 90_000, False)]
)
def test_long_documents_are_not_kept(
    http: httpx.Client, instance: Instance, sign: str, length: int, kept: bool
) -> None:
    """A document that is longer than front ends write is answered, and forgotten: by the parsed, the validated, the
    measured documents and the plans of lists. One of a usual length is kept."""
    create(instance)
    mark = uuid4().hex
    answer = http.post("/graphql", json={"query": f"{RUNS} # {mark} {sign * length}", "extensions": {"cost": True}})
    assert answer.json()["extensions"]["cost"]["requested"] > 0, answer.text
    assert bool(held(mark)) == kept
