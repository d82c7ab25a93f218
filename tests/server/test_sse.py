"""GraphQL over Server-Sent Events; npm's graphql-sse and EventSource speak with it in tests/system."""

from __future__ import annotations

import asyncio
import json
import random
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from graphql.language.parser import Parser

from daglens.instance import Instance
from daglens.resolvers.live import LiveHub
from daglens.server.settings import ServerSettings
from daglens.storage.records import ComputeIO, EventDraft, LogKey
from daglens.testing.server import LiveServer, serve_in_thread
from tests.live.conftest import QUICK
from tests.server.conftest import EVENTS, PATIENCE_S, Serve, create, until, write

PLAIN = "subscription($runId: ID!) { runEvents(runId: $runId) { ... on RunEventsBatch { events { seq } } } }"
ACCEPT = {"accept": "text/event-stream"}


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    id: str | None
    data: str

    @property
    def payload(self) -> dict[str, Any]:
        """The result that it carries."""
        assert self.name == "next", self
        payload: dict[str, Any] = json.loads(self.data)
        return payload

    @property
    def seqs(self) -> list[int]:
        """Those of the batch that it carries."""
        return [event["seq"] for event in self.payload["data"]["runEvents"]["events"]]


class Stream:
    """An event stream as a client reads it.

    Attributes:
        pings: How many comments have come.
    """

    def __init__(self, answer: httpx.Response) -> None:
        self.pings = 0
        self.answer = answer
        self._lines = answer.iter_lines()

    def __iter__(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                self.pings += 1
            elif line:
                name, _, value = line.partition(":")
                assert name in ("event", "id", "data") and name not in fields
                fields[name] = value.removeprefix(" ")
            elif fields:
                yield Event(fields["event"], fields.get("id"), fields["data"])
                fields = {}
        assert fields == {}

    def next(self) -> Event:
        """The next event."""
        return next(iter(self))

    def wait_for_pings(self, count: int) -> None:
        """Read until so many comments have come, and no event."""
        while self.pings < count:
            line = next(self._lines)
            assert line in (":", "")
            self.pings += line == ":"


@contextmanager
def streamed(
    server: LiveServer, query: str = EVENTS, *, last_event_id: str | None = None, method: str = "POST", **variables: Any
) -> Iterator[Stream]:
    """The stream of an operation."""
    headers = ACCEPT | ({} if last_event_id is None else {"last-event-id": last_event_id})
    body: dict[str, Any] = {"query": query, "variables": variables or {"runId": "run"}}
    sent: dict[str, Any] = (
        {"json": body} if method == "POST" else {"params": {"query": query, "variables": json.dumps(body["variables"])}}
    )
    with (
        httpx.Client(base_url=server.url, timeout=PATIENCE_S) as http,
        http.stream(method, "/graphql", headers=headers, **sent) as answer,
    ):
        yield Stream(answer)


def viewers(server: LiveServer) -> int:
    """Of the server's live hub."""
    return server.on_loop(lambda: server.hub.viewers)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_history_then_live_then_the_end(server: LiveServer, instance: Instance, method: str) -> None:
    """A subscription delivers what was there, what comes, and completes with the run; each id is the batch's cursor."""
    create(instance)
    write(instance, 3)
    with streamed(server, method=method) as stream:
        assert stream.answer.status_code == 200
        assert stream.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.answer.headers["cache-control"] == "no-store, no-transform"
        first = stream.next()
        assert first.seqs == [1, 2, 3]
        assert first.id == first.payload["data"]["runEvents"]["cursor"]
        write(instance, 2)
        assert stream.next().seqs == [4, 5]
        write(instance, 1, event_type="RUN_SUCCESS")
        *last, end = list(stream)
        assert [event.seqs for event in last] == [[6]]
        assert end == Event("complete", None, "")
    until(lambda: server.on_loop(lambda: server.hub.feeds) == 0)


def test_queries_and_mutations(server: LiveServer, instance: Instance) -> None:
    """Queries and mutations are one result and the end."""
    mutation = 'mutation { createRun(input: { runId: "a", pipelineName: "p" }) { __typename } }'
    with streamed(server, mutation) as stream:
        result, end = list(stream)
        assert result.payload == {"data": {"createRun": {"__typename": "CreateRunSuccess"}}}
        assert (result.id, end.name) == (None, "complete")
    for method in ("GET", "POST"):
        with streamed(server, '{ runOrError(runId: "a") { __typename } }', method=method) as stream:
            result, end = list(stream)
            assert result.payload == {"data": {"runOrError": {"__typename": "Run"}}}


def test_mutation_by_get(http: httpx.Client, instance: Instance) -> None:
    """A mutation by GET isn't carried out, also not one among others in its document."""
    document = 'query A { version } mutation B { createRun(input: { runId: "a", pipelineName: "p" }) { __typename } }'
    answer = http.get("/graphql", params={"query": document, "operationName": "B"}, headers=ACCEPT)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    mutation_first = "mutation" + document.partition("mutation")[2] + " query C { version }"
    assert http.get("/graphql", params={"query": mutation_first}, headers=ACCEPT).status_code == 405
    assert instance.runs.get(["a"]) == {}
    answer = http.get("/graphql", params={"query": document, "operationName": "A"}, headers=ACCEPT)
    assert answer.text.startswith('event: next\ndata: {"data":{"version":')


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { version }", "GRAPHQL_VALIDATION_FAILED"),
        (EVENTS.replace("($runId: ID!", "($runId: ID!, $n: Int!"), "GRAPHQL_VALIDATION_FAILED"),
        (EVENTS.replace("$runId", "$nobodysId"), "BAD_USER_INPUT"),
        ("query A { version } query B { version }", "GRAPHQL_VALIDATION_FAILED"),
        ("fragment F on Query { version }", "BAD_USER_INPUT"),
        ("{" * 20_000, "GRAPHQL_PARSE_FAILED"),
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_operation_that_cannot_be_executed(shared_server: LiveServer, query: str, code: str, method: str) -> None:
    """What is wrong with the operation is an event: an EventSource shows nothing of an answer that isn't 200."""
    with streamed(shared_server, query, method=method) as stream:
        assert stream.answer.status_code == 200
        result, end = list(stream)
        assert [error["extensions"]["code"] for error in result.payload["errors"]] == [code]
        assert result.payload["data"] is None
        assert end.name == "complete"


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_documents_are_parsed_once(shared_server: LiveServer, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """To tell what kind of operation it is, a document is read no further than the limit of tokens, and what is known
    isn't read again."""
    read = 0
    advance = Parser.advance_lexer

    def counting(self: Parser) -> None:
        nonlocal read
        read += 1
        advance(self)

    monkeypatch.setattr(Parser, "advance_lexer", counting)
    with streamed(shared_server, "{ " + "now " * 8_000 + "}", method=method) as stream:
        assert "TOO_MANY_TOKENS" in stream.next().data
    assert 2_000 < read < 7_000  # whoever parses it anew stops at the limit
    document = f"{{ version }} # {method}"
    counts = []
    for _ in range(2):
        read = 0
        with streamed(shared_server, document, method=method) as stream:
            assert "version" in stream.next().data
        counts.append(read)
    assert counts[0] > 0 and counts[1] == 0


def test_requests_that_cannot_be_read(shared_http: httpx.Client) -> None:
    """What is no GraphQL request is refused before any stream begins, as JSON."""
    for status, options in (
        (400, {"content": b"no json", "headers": {"content-type": "application/json"}}),
        (400, {"json": [{"query": "{ version }"}]}),
        (400, {"json": {}}),
        (400, {"json": {"query": "{ version }", "variables": []}}),
        (415, {"content": b"query={version}", "headers": {"content-type": "application/x-www-form-urlencoded"}}),
        (415, {"content": b'{"query": "{ version }"}', "headers": {"content-type": "text/plain"}}),
    ):
        options["headers"] = options.get("headers", {}) | ACCEPT  # type: ignore[operator]
        answer = shared_http.post("/graphql", **options)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.json()["errors"][0]["message"]
    assert shared_http.get("/graphql", headers=ACCEPT).status_code == 400
    head = shared_http.head("/graphql", params={"query": "{ version }"}, headers=ACCEPT)
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("text/event-stream, */*;q=0.1", True),
        ("TEXT/EVENT-STREAM;q=0.9, application/json;q=0.5", True),
        ("application/graphql-response+json, application/json, text/event-stream", False),
        ("application/json, text/event-stream;q=0.2", False),
    ],
)
def test_negotiation(server: LiveServer, instance: Instance, accept: str, streams: bool) -> None:
    """A query is a stream where that is preferred; a subscription is one wherever it is acceptable."""
    create(instance)
    write(instance, 1, event_type="RUN_SUCCESS")
    for query, expected in (("{ version }", streams), (EVENTS, True)):
        body = {"query": query, "variables": {"runId": "run"}}
        answer = httpx.post(f"{server.url}/graphql", json=body, headers={"accept": accept}, timeout=PATIENCE_S)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream") == expected


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/event-stream;q=0, application/json"])
def test_subscription_without_a_stream(shared_http: httpx.Client, accept: str) -> None:
    """Where a stream isn't acceptable, a subscription is refused with a sentence that says how to get one."""
    answer = shared_http.post("/graphql", json={"query": PLAIN}, headers={"accept": accept})
    assert answer.status_code == 400
    assert "text/event-stream" in answer.json()["errors"][0]["message"]


def test_ids_and_resuming(server: LiveServer, instance: Instance) -> None:
    """Each feed's messages have their cursor as id though it isn't selected; Last-Event-ID goes on behind it, whatever
    `after` says."""
    create(instance)
    write(instance, 2)
    log = LogKey("run", "step")
    instance.compute_logs.append(log, ComputeIO.STDOUT, 0, b"one\n")
    after = 'after: "nonsense"'
    events = f'subscription {{ runEvents(runId: "run" {after}) {{ ... on RunEventsBatch {{ events {{ seq }} }} }} }}'
    runs = f"subscription {{ runs({after}) {{ ... on RunsBatch {{ changed {{ runId }} }} }} }}"
    logs = f'subscription {{ computeLog(runId: "run", stepKey: "step", ioType: STDOUT {after}) {{ __typename \
... on ComputeLogChunk {{ data }} }} }}'
    cases: list[tuple[str, Any, Any]] = []
    for query in (events, runs, logs):
        with streamed(server, query.replace(after, "").replace("()", "")) as stream:
            first = stream.next()
            assert first.id is not None
            cases.append((query, first.id, first.payload["data"]))
    assert cases[0][2]["runEvents"]["events"] == [{"seq": 1}, {"seq": 2}]
    assert cases[1][2]["runs"]["changed"] == [{"runId": "run"}]
    assert cases[2][2]["computeLog"]["data"] == "one\n"
    write(instance, 1)
    create(instance, "other")
    instance.compute_logs.append(log, ComputeIO.STDOUT, 4, b"two\n")
    found = []
    for query, last, _ in cases:
        with streamed(server, query, last_event_id=last) as stream:
            found.append(stream.next().payload["data"])
        # EventSource sends no empty one; nothing else may be made of it than of none.
        with streamed(server, query, last_event_id="") as stream:
            message, end = list(stream)
            assert (message.id, end.name) == (None, "complete")
    assert found[0]["runEvents"]["events"] == [{"seq": 3}]
    assert found[1]["runs"]["changed"] == [{"runId": "other"}]
    assert found[2]["computeLog"]["data"] == "two\n"


@pytest.mark.parametrize("last", ["nonsense", "e1.0123456789abcdef.7", "l1.1.0.0123456789ab", "ü"])
def test_last_event_id_of_elsewhere(server: LiveServer, instance: Instance, last: str) -> None:
    """A Last-Event-ID that fits no place of this feed is an InvalidCursorError, never a silent start from anywhere."""
    create(instance)
    with streamed(server, last_event_id=last.encode()) as stream:  # type: ignore[arg-type]
        error, end = list(stream)
        assert error.payload["data"]["runEvents"]["code"] == "INVALID_CURSOR"
        assert (error.id, end.name) == (None, "complete")


def test_cut_anywhere_and_resumed(server: LiveServer, instance: Instance) -> None:
    """A client whose connection breaks at any time and that comes back with its last id gets each event once."""
    create(instance)
    chosen = random.Random(7)
    total = 400

    def write_all() -> None:
        for _ in range(total):
            write(instance)
        write(instance, 1, event_type="RUN_SUCCESS")

    writer = threading.Thread(target=write_all)
    writer.start()
    got: list[int] = []
    last, ended = None, False
    while not ended:
        with streamed(server, PLAIN, last_event_id=last, runId="run") as stream:
            for event, _ in zip(stream, range(chosen.randint(1, 9)), strict=False):
                if ended := event.name == "complete":
                    break
                got += event.seqs
                last = event.id
    writer.join()
    assert got == list(range(1, total + 2))


def test_pings(serve: Serve, instance: Instance) -> None:
    """While nothing comes, comments do, so that no proxy takes the stream for dead; before a first result, too."""
    create(instance)
    server = serve(ping_interval_s=0.02)
    with streamed(server) as stream:
        stream.next()
        stream.wait_for_pings(3)
        write(instance)
        assert stream.next().seqs == [1]
    waiting = 'query($after: Cursor) { runEventsOrError(runId: "run", waitSeconds: 25, after: $after) { __typename } }'
    with streamed(server) as stream:
        at_end = stream.next()
    with streamed(server, waiting, after=at_end.id) as poll:
        poll.wait_for_pings(2)
        write(instance)
        result, end = list(poll)
        assert result.payload["data"] == {"runEventsOrError": {"__typename": "EventPage"}}
        assert end.name == "complete"


def test_hundred_killed_streams(server: LiveServer, instance: Instance) -> None:
    """A hundred viewers whose connections break off leave nothing on the server."""
    create(instance)
    tasks = server.on_loop(lambda: len(asyncio.all_tasks()))
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in range(100)]
        for connection in connections:
            connection.sendall(request_for(EVENTS))
        until(lambda: viewers(server) == 100)
        write(instance, 50)
    until(lambda: viewers(server) == 0)
    assert server.on_loop(lambda: server.hub.feeds) == 0
    until(lambda: server.on_loop(lambda: len(asyncio.all_tasks())) <= tasks)


def connected(server: LiveServer) -> sockets.socket:
    """A plain connection."""
    host, port = server.url.removeprefix("http://").split(":")
    return sockets.create_connection((host, int(port)), timeout=PATIENCE_S)


def request_for(query: str) -> bytes:
    """A whole request for an event stream of the run."""
    body = json.dumps({"query": query, "variables": {"runId": "run"}}).encode()
    return (
        b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def test_reader_that_stops(serve: Serve, instance: Instance) -> None:
    """A client that stops reading stops its own feed only, holds next to nothing here, and later gets every event."""
    server = serve(ping_interval_s=0.01)  # pings don't pile up for it either
    create(instance)
    total = 8000  # 16 MB: far more than the system buffers of a connection hold
    query = EVENTS.replace("{ seq }", "{ seq message }")
    with streamed(server, query) as quick, streamed(server, query) as slow:
        assert quick.next().seqs == slow.next().seqs == []
        for _ in range(total // 200):
            instance.append("run", [EventDraft("LOG_MESSAGE", message="x" * 2000) for _ in range(200)])
        write(instance, 1, event_type="RUN_SUCCESS")
        for stream in (quick, slow):
            if stream is slow:
                places = server.on_loop(lambda: list(server.hub._runs["run"].viewers.values()))
                assert len(places) == 1 and places[0] < total
            got = [seq for event in stream if event.name == "next" for seq in event.seqs]
            assert got == list(range(1, total + 2))


def test_stopping(instance: Instance) -> None:
    """A server that stops ends its streams without `complete`, at once, and lets queries be answered; the clients go on
    at another server, by the id that they have."""
    create(instance)
    write(instance, 2)
    settings = ServerSettings(live=QUICK, drain_s=PATIENCE_S)
    with ExitStack() as stack, serve_in_thread(instance, settings) as other:
        with serve_in_thread(instance, settings) as server:
            stream = stack.enter_context(streamed(server))
            first = stream.next()
            waiting = f'{{ runEventsOrError(runId: "run", waitSeconds: 25, after: "{first.id}") {{ __typename }} }}'
            answers: list[Event] = []

            def wait() -> None:
                with streamed(server, waiting) as poll:
                    answers.extend(poll)

            poll = threading.Thread(target=wait)
            poll.start()
            until(lambda: viewers(server) == 2)
        assert list(stream) == []
        poll.join()
        assert [event.name for event in answers] == ["next", "complete"]
        write(instance, 1)
        with streamed(other, last_event_id=first.id) as resumed:
            assert resumed.next().seqs == [3]


def test_stopping_with_a_reader_that_stopped(instance: Instance) -> None:
    """A client that doesn't read holds a stopping server no longer than it may take to drain."""
    create(instance)
    with ExitStack() as stack:
        with serve_in_thread(instance, ServerSettings(live=QUICK, drain_s=1.0)) as server:
            connection = stack.enter_context(connected(server))
            connection.sendall(request_for(EVENTS.replace("{ seq }", "{ seq message }")))
            until(lambda: viewers(server) == 1)
            for _ in range(40):
                instance.append("run", [EventDraft("LOG_MESSAGE", message="x" * 2000) for _ in range(200)])
        # It has ended.
        assert connection.recv(16)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_origins(serve: Serve, instance: Instance, method: str) -> None:
    """Pages of other origins can't have a stream opened, also not by GET, which other answers allow them; our own and
    listed ones can, and may read it."""
    create(instance)
    server = serve(allowed_origins=("https://front.example.org",))
    parameters = {"query": EVENTS, "variables": {"runId": "run"}}
    sent: dict[str, Any] = (
        {"json": parameters}
        if method == "POST"
        else {"params": {**parameters, "variables": json.dumps(parameters["variables"])}}
    )

    def ask(**headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with http.stream(method, "/graphql", headers=ACCEPT | named, **sent) as answer:
            return answer

    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as http:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            assert ask(origin=origin, sec_fetch_site="cross-site").status_code == 403
        assert ask(host="evil.example").status_code == 403
        for own in ({}, {"origin": server.url}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}):
            assert ask(**own).status_code == 200
        listed = ask(origin="https://front.example.org", sec_fetch_site="cross-site")
        assert listed.status_code == 200
        assert listed.headers["access-control-allow-origin"] == "https://front.example.org"
        if method == "GET":
            # As `fetch(…, {mode: "no-cors"})` of another site sends it.
            assert ask(sec_fetch_site="cross-site").status_code == 403


def test_bugs_are_masked(server: LiveServer, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure behind the feed is an entry of errors[] with an errorId, without what failed inside, and the end."""
    create(instance)

    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("planted detail")

    monkeypatch.setattr(LiveHub, "run_events", broken)
    with streamed(server) as stream:
        result, end = list(stream)
    assert "planted" not in result.data
    assert result.payload["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert result.payload["errors"][0]["extensions"]["errorId"]
    assert end.name == "complete"
