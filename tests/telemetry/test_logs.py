"""The server's log: one line per request, ids that join answers and lines, no secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from daglens.config.redaction import Redactor
from daglens.server.telemetry.logs import log_as_worker, log_to
from tests.server.conftest import opened, until

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Leaves loggers as they were."""
    names = ("", "daglens", "daglens.access", "uvicorn", "websockets")
    before = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def lines(quiet: None) -> Lines:
    """What was logged as JSON, up to now."""
    stream = io.StringIO()
    log_to(stream, format="json", requests=True)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def of_requests(lines: Lines, path: str = "/graphql") -> list[dict[str, Any]]:
    """The lines of answered requests."""
    return [line for line in lines() if line["logger"] == "daglens.access" and line["path"] == path]


def test_a_request_is_one_line_with_the_id_that_its_answer_has(lines, http):
    """A proxy's id is kept and given back; without one, one is made."""
    given = http.post("/graphql", json={"query": "query Mine { __typename }"}, headers={"x-request-id": "proxy-7:a"})
    made = http.post("/graphql", json={"query": "{ __typename }"})
    until(lambda: len(of_requests(lines)) == 2)
    first, second = of_requests(lines)
    assert given.headers["x-request-id"] == "proxy-7:a" == first["requestId"]
    assert made.headers["x-request-id"] == second["requestId"]
    assert len(second["requestId"]) == 32
    assert (first["method"], first["route"], first["status"], first["operations"]) == (
        "POST",
        "/graphql",
        200,
        ["Mine"],
    )
    assert first["sentBytes"] == len(given.content)
    assert first["level"] == "INFO" and first["time"].endswith("Z") and first["client"] == "127.0.0.1"


def test_of_several_workers_each_line_says_which(lines: Lines, http: httpx.Client) -> None:
    """By its number, as the metrics do; a lone server's lines have none."""
    http.get("/healthz")
    until(lambda: len(of_requests(lines, "/healthz")) == 1)
    log_as_worker(2)
    http.get("/readyz")
    until(lambda: len(of_requests(lines, "/readyz")) == 1)
    assert "worker" not in of_requests(lines, "/healthz")[0]
    assert of_requests(lines, "/readyz")[0]["worker"] == 2


@pytest.mark.parametrize("bad", ["", "two words", "x" * 129, "line\tend", "ä"])
def test_an_id_that_could_not_stand_in_a_log_is_replaced(http, bad):
    """Nothing of it comes back."""
    answer = http.get("/healthz", headers={"x-request-id": bad.encode()})
    assert len(answer.headers["x-request-id"]) == 32


def test_an_error_id_leads_from_an_answer_to_the_log(lines, http):
    """Of an entry of errors[] and of a refusal alike; both lines have the request's id."""
    wrong = http.post("/graphql", json={"query": "{ nothing }"})
    refused = http.post("/graphql", content=b"{", headers={"content-type": "application/json"})
    until(lambda: len(of_requests(lines)) == 2)
    for answer, code in ((wrong, "GRAPHQL_VALIDATION_FAILED"), (refused, "BAD_REQUEST")):
        extensions = answer.json()["errors"][0]["extensions"]
        assert extensions["code"] == code
        told = [line for line in lines() if extensions["errorId"] in line["message"]]
        assert {line["requestId"] for line in told} == {answer.headers["x-request-id"]}
        assert {line["logger"] for line in told} == {"daglens.access", "daglens.server"}
        assert [line["errorIds"] for line in told if "errorIds" in line] == [[extensions["errorId"]]]


def test_a_bug_has_an_id_and_a_traceback_in_the_log(lines, serve, monkeypatch):
    """The client gets neither message nor stack; the log has both, under the same ids."""
    import httpx

    server = serve()
    monkeypatch.setattr(type(server.app.state.served.schema), "as_str", lambda _: 1 / 0)
    answer = httpx.get(f"{server.url}/schema.graphql")
    assert answer.status_code == 500
    error_id = answer.json()["errors"][0]["extensions"]["errorId"]
    until(lambda: any(error_id in line["message"] for line in lines()))
    assert "division" not in answer.text
    until(lambda: any("ZeroDivisionError" in line.get("exception", "") for line in lines()))
    request = of_requests(lines, "/schema.graphql")[0]
    assert request["status"] == 500 and request["requestId"] == answer.headers["x-request-id"]


def test_a_socket_is_one_line_when_it_ends(lines, server):
    """With what it asked for and how it was closed."""
    with opened(server, additional_headers={"x-request-id": "from-proxy"}) as socket:
        assert socket.connection.response is not None
        assert socket.connection.response.headers["x-request-id"] == "from-proxy"
        socket.start("query Once { __typename }")
        socket.results()
    until(lambda: len(of_requests(lines)) == 1)
    line = of_requests(lines)[0]
    assert (line["transport"], line["status"], line["operations"]) == ("websocket", 1000, ["Once"])
    assert line["requestId"] == "from-proxy"


def test_lines_have_no_secrets_and_no_query_strings(lines, http):
    """Neither what stands behind the `?` nor, wherever it comes from, a secret of the configuration."""
    redactor = Redactor()
    redactor.hide('pass"word-of-mine')
    http.get("/graphql", params={"query": "{ __typename }", "variables": '{"token": "dgl_hidden"}'})
    http.get('/runs/pass"word-of-mine/artifacts/x')
    logging.getLogger("daglens.server").error(
        "it was %s", 'pass"word-of-mine', extra={"fields": {"x": ['pass"word-of-mine']}}
    )
    until(lambda: len([line for line in lines() if line["logger"] == "daglens.access"]) == 2)
    text = json.dumps(lines())
    assert "dgl_hidden" not in text
    assert "word-of-mine" not in text
    assert text.count("***") >= 4


def test_a_line_of_text_stays_one_line(quiet, http):
    """Whatever an address holds."""
    stream = io.StringIO()
    log_to(stream, requests=True)
    answer = http.get("/runs/a%0d%0aINFO%20forged/artifacts/x")
    until(lambda: "daglens.access" in stream.getvalue())
    line = next(line for line in stream.getvalue().splitlines() if "daglens.access" in line)
    assert "\\r\\nINFO forged" in line
    assert f"requestId={answer.headers['x-request-id']}" in line
    assert " 404 " in line and "errorId=" in line and "code=NOT_FOUND" in line


def test_only_a_record_begins_at_the_margin(quiet):
    """What a storage raised may quote a client: in text, lines beyond the first are indented, and what steers a
    terminal is escaped."""
    root, stream = logging.getLogger(), io.StringIO()
    pytests = list(root.handlers)
    log_to(stream)
    # What pytest itself captures is sent between its processes, and half a character can't be.
    root.handlers[:] = [handler for handler in root.handlers if handler not in pytests]
    hostile = "a\n2026-11-22 09:30:00,000 ERROR daglens.server: forged\r\x1b[2J\x85\u2028\u202e\udc80"
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("daglens.server").exception("%s", hostile)
    first, *others = stream.getvalue().removesuffix("\n").split("\n")
    assert first.endswith("daglens.server: a")
    assert len(others) > 4 and all(line.startswith("    ") for line in others)
    assert all(line.isprintable() for line in (first, *others))
    assert "\\x1b[2J\\x85\\u2028\\u202e\\udc80" in stream.getvalue()


def test_serve_writes_json_when_it_is_told_to(tmp_path):
    """`--log-format json` makes every line an object, requests and the server's address included: where a container's
    outputs are collected together, no line is anything else."""
    import httpx

    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAG")}
    command = [sys.executable, "-m", "daglens.cli", "serve", "--ephemeral", "--port", "0", "--log-format", "json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert process.stderr is not None
        try:
            url = json.loads(process.stderr.readline())["url"]
            httpx.get(f"{url}/healthz", headers={"x-request-id": "seen"})
        finally:
            process.terminate()
        told, errors = process.communicate(timeout=60)
    assert told == ""
    logged = [json.loads(line) for line in errors.splitlines()]
    assert [line["path"] for line in logged if line.get("requestId") == "seen"] == ["/healthz"]
