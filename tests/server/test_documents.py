"""Trusted documents: over every transport the same, taken by id or by text, and read again when their file changes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from daglens.instance import Instance
from daglens.server.documents import InvalidDocuments, read_manifest
from daglens.server.documents.manifest import hash_of, manifest_text
from daglens.server.documents.sources import documents_of
from daglens.testing.server import LiveServer
from tests.api.test_limits import SCHEMA
from tests.server.conftest import EVENTS, LEGACY, PATIENCE_S, TRANSPORT, Serve, create, opened, write
from tests.server.test_limits import HTTP, SSE, TRANSPORTS, code_of

KNOWN = "query Known($id: ID!) {\n  # a comment\n  runOrError(runId: $id) { __typename }\n}\n"
LAID_OUT_OTHERWISE = "query Known($id:ID!){runOrError(runId:$id){__typename}}"
UNKNOWN = "{ version }"
ANSWER = {"runOrError": {"__typename": "RunNotFoundError"}}
VARIABLES = {"id": "nobody"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A manifest of two documents."""
    path = tmp_path / "documents.json"
    path.write_text(manifest_text({hash_of(text): text for text in (KNOWN, EVENTS)}))
    return path


def ask(transport: str, server: LiveServer, **request: Any) -> dict[str, Any]:
    """The first result of a request that is sent as it is, or its errors."""
    if transport in (TRANSPORT, LEGACY):
        with opened(server, transport) as socket:
            socket.send({"type": socket.start_type, "id": "1", "payload": request})
            message = socket.receive()
        payload = message["payload"]
        return (
            {"errors": payload if isinstance(payload, list) else [payload]} if message["type"] == "error" else payload
        )
    headers = {"accept": "text/event-stream"} if transport == SSE else {}
    answer = httpx.post(f"{server.url}/graphql", json=request, headers=headers, timeout=PATIENCE_S)
    if answer.headers["content-type"].startswith("text/event-stream"):
        return dict(json.loads(answer.text.split("data: ", 1)[1].splitlines()[0]))
    return {"status": answer.status_code, **answer.json()}


def by_document_id(id: str) -> dict[str, Any]:
    return {"documentId": id}


def by_apollos_extension(id: str) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}}}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_enforced(transport: str, serve: Serve, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is in the manifest is executed, by id or by text, however it is laid out; nothing else is, and the log says
    once what was refused, by its hash and its beginning."""
    server = serve(documents=file, documents_mode="enforce")
    for request in (
        {"query": KNOWN},
        {"query": LAID_OUT_OTHERWISE},
        by_document_id(hash_of(KNOWN)),
        by_document_id("sha256:" + hash_of(KNOWN)),
        by_apollos_extension(hash_of(KNOWN)),
        {"query": KNOWN, **by_apollos_extension(hash_of(KNOWN))},
        # An id that nobody knows does no harm to a text that is known.
        {"query": KNOWN, **by_document_id(hash_of(UNKNOWN))},
    ):
        assert ask(transport, server, variables=VARIABLES, **request)["data"] == ANSWER, request
    for request, code in (
        ({"query": UNKNOWN}, "UNTRUSTED_DOCUMENT"),
        ({"query": KNOWN + "query More { version }", "operationName": "More"}, "UNTRUSTED_DOCUMENT"),
        ({"query": UNKNOWN, **by_apollos_extension(hash_of(UNKNOWN))}, "UNTRUSTED_DOCUMENT"),
        ({"query": UNKNOWN, **by_document_id(hash_of(KNOWN))}, "BAD_REQUEST"),
        (by_document_id(hash_of(UNKNOWN)), "PERSISTED_QUERY_NOT_FOUND"),
        (by_apollos_extension(hash_of(UNKNOWN)), "PERSISTED_QUERY_NOT_FOUND"),
        ({"documentId": 7}, "BAD_REQUEST"),
        ({"extensions": {"persistedQuery": {"version": 1}}}, "BAD_REQUEST"),
    ):
        assert code_of(ask(transport, server, **request)).split()[-1] == code, request
    assert caplog.text.count(f"was refused: sha256:{hash_of(UNKNOWN)}") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_off_and_without_a_manifest(transport: str, serve: Serve, file: Path) -> None:
    """Every document is executed, and ids are told not to be known: clients then send the document."""
    for server in (serve(), serve(documents=file, documents_mode="off")):
        assert "version" in ask(transport, server, query=UNKNOWN)["data"]
        told = code_of(ask(transport, server, **by_document_id(hash_of(KNOWN))))
        assert told.split()[-1] == "PERSISTED_QUERY_NOT_SUPPORTED"
        assert "version" in ask(transport, server, query=UNKNOWN, **by_apollos_extension(hash_of(UNKNOWN)))["data"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_logged(transport: str, serve: Serve, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A document that isn't in the manifest is executed, and named once."""
    server = serve(documents=file, documents_mode="log")
    with caplog.at_level(logging.WARNING, "daglens.server"):
        for _ in range(3):
            assert "version" in ask(transport, server, query=UNKNOWN)["data"]
        assert ask(transport, server, query=KNOWN, variables=VARIABLES)["data"] == ANSWER
    told = [record.getMessage() for record in caplog.records if "is not in" in record.getMessage()]
    assert len(told) == 1
    assert f"sha256:{hash_of(UNKNOWN)}" in told[0]


def test_subscriptions_and_gets_by_id(serve: Serve, file: Path, instance: Instance) -> None:
    """A subscription is begun by the id of its document, and an EventSource or a cache asks by GET."""
    create(instance)
    write(instance, 2)
    server = serve(documents=file, documents_mode="enforce")
    with opened(server) as socket:
        socket.send(
            {
                "type": "subscribe",
                "id": "1",
                "payload": {"variables": {"runId": "run"}, **by_document_id(hash_of(EVENTS))},
            }
        )
        assert [event["seq"] for event in socket.result()["data"]["runEvents"]["events"]] == [1, 2]
    parameters = {"documentId": hash_of(KNOWN), "variables": json.dumps(VARIABLES)}
    answer = httpx.get(f"{server.url}/graphql", params=parameters, timeout=PATIENCE_S)
    assert answer.json() == {"data": ANSWER}


def test_changes_hold_from_the_next_request(serve: Serve, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A manifest that is replaced is read again; one that can't be read changes nothing, and the log says so once."""
    server = serve(documents=file, documents_mode="enforce")
    assert code_of(ask(HTTP, server, query=UNKNOWN)) == "403 UNTRUSTED_DOCUMENT"
    file.write_text(manifest_text({hash_of(UNKNOWN): UNKNOWN}))
    assert "version" in ask(HTTP, server, query=UNKNOWN)["data"]
    assert code_of(ask(HTTP, server, query=KNOWN)) == "403 UNTRUSTED_DOCUMENT"
    for spoil in (lambda: file.write_text("{"), file.unlink):
        caplog.clear()
        spoil()
        for _ in range(2):
            assert "version" in ask(HTTP, server, query=UNKNOWN)["data"]
        assert len([one for one in caplog.records if "stay as they were" in one.getMessage()]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": 1}',
        '{"sha256:00": "{ version }"}',
        "[" * 100_000,
        '{"format": "apollo-persisted-query-manifest"}',
    ],
)
def test_manifests_that_are_wrong(serve: Serve, tmp_path: Path, text: str) -> None:
    """The server doesn't start, and says which file and why."""
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(InvalidDocuments, match=r"wrong\.json"):
        serve(documents=path, documents_mode="log")


def test_apollos_manifest(tmp_path: Path) -> None:
    """The file that Apollo's tools write is read."""
    path = tmp_path / "persisted-query-manifest.json"
    operation = {"id": "dc67510f", "name": "Known", "type": "query", "body": KNOWN}
    path.write_text(json.dumps({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]}))
    assert read_manifest(path).text_of("dc67510f") == KNOWN


def test_documents_out_of_files(tmp_path: Path) -> None:
    """Each operation becomes a document with the fragments it needs, those of other files too, and none besides."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/page.graphql").write_text(
        "query A { runOrError(runId: 1) { ...Row } }\nquery B { version }\nfragment Unused on Run { runId }\n"
    )
    (tmp_path / "row.graphql").write_text(
        "fragment Row on Run { runId ...Tags }\nfragment Tags on Run { tags { key } }\n"
    )
    texts = list(documents_of([tmp_path], SCHEMA._schema).values())
    assert texts == [
        "query A { runOrError(runId: 1) { ...Row } }\n\nfragment Row on Run { runId ...Tags }\n\n"
        "fragment Tags on Run { tags { key } }",
        "query B { version }",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("query Q { nothing }", "Q: Cannot query field 'nothing'"),
        ("query Q {", "Syntax Error"),
        ("query Q { ...Missing }", "Unknown fragment 'Missing'"),
        ("fragment F on Run { runId }", "no operation"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    """What the schema doesn't answer is told before it is trusted."""
    (tmp_path / "q.graphql").write_text(text)
    with pytest.raises(InvalidDocuments, match=said):
        documents_of([tmp_path], SCHEMA._schema)
