"""How much of the log one request may fill."""

from __future__ import annotations

import logging

import httpx
import pytest


@pytest.mark.parametrize("document", ["{ %s }", "query %s { version }"])
def test_long_names_are_not_logged_whole(http: httpx.Client, caplog: pytest.LogCaptureFixture, document: str) -> None:
    """A field or an operation may have a name as long as a document: log lines stay short."""
    caplog.set_level(logging.INFO)
    answer = http.post("/graphql", json={"query": document % ("a" * 90_000)})
    assert answer.status_code == 200
    assert caplog.messages
    assert max(map(len, caplog.messages)) < 5_000
