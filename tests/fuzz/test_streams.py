"""Sockets and event streams: messages of both protocols in any order, frames of any bytes, any subscription."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from graphql import introspection_from_schema
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from daglens.schema.build import build_schema
from tests.fuzz.documents import aimed, subscriptions
from tests.fuzz.raw_http import exchange
from tests.fuzz.served import UNKNOWN_TOKEN, Fuzzed, check_result, examples
from tests.fuzz.test_bytes import port_of
from tests.fuzz.test_documents import cursors
from tests.server.conftest import LEGACY, TRANSPORT, Socket, opened

SUBSCRIPTIONS = subscriptions(introspection_from_schema(build_schema()._schema))
ANSWERS = {
    TRANSPORT: {"connection_ack", "next", "error", "complete", "pong", "ping"},
    LEGACY: {"connection_ack", "connection_error", "data", "error", "complete", "ka"},
}
CLOSED_WITH = {1000, 1002, 1003, 1005, 1007, 1009, 4400, 4401, 4403, 4406, 4408, 4409, 4429}
DOCUMENTS = [
    "{ version }",
    "query A { version } query B { nonesuch }",
    "subscription { runs(limit: 1) { __typename ... on Error { code } } }",
    'subscription { runEvents(runId: "none") { __typename ... on Error { code } } }',
    'subscription { runEvents(runId: "RUN") { __typename ... on RunEventsBatch { throughSeq } } }',
    'subscription { computeLog(runId: "RUN", stepKey: "extract", ioType: STDOUT) { __typename } }',
    'subscription ($a: Cursor!) { runEvents(runId: "RUN", after: $a) { __typename } }',
    "subscription { runs { __typename } version: runs { __typename } }",
    'mutation { heartbeat(runId: "none") { __typename } }',
    "{",
    "",
    "{ version @skip }",
]
ids: st.SearchStrategy[Any] = st.sampled_from(["1", "2", "", "x" * 300, "\ud800", "\x00", 1, None, []])
junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def messages(draw: st.DrawFn, run_id: str, tokens: list[str]) -> Any:
    """A message that a client of either protocol may send, or one that none should."""
    kind = draw(
        st.sampled_from(
            ["connection_init", "subscribe", "start", "complete", "stop", "ping", "pong", "connection_terminate", "?"]
        )
    )
    payload: Any = draw(junk)
    if kind == "connection_init" and draw(st.booleans()):
        payload = {"Authorization": f"Bearer {draw(st.sampled_from(tokens))}"}
    if kind in ("subscribe", "start") and draw(st.integers(0, 4)):
        payload = {
            "query": draw(st.sampled_from(DOCUMENTS)).replace("RUN", run_id),
            "variables": draw(st.none() | st.just({"a": "x"}) | junk),
            "operationName": draw(st.sampled_from([None, "A", "", 1])),
            "extensions": draw(st.none() | junk),
        }
    message = {"type": kind, "id": draw(ids), "payload": payload}
    for key in draw(st.sets(st.sampled_from(["type", "id", "payload"]), max_size=1)):
        if not draw(st.integers(0, 2)):
            message.pop(key)
    return message


def check_messages(served: Fuzzed, socket: Socket, protocol: str, sent: list[Any]) -> None:
    """Send them, and read until the server has answered the last, or has closed the socket with a code of its own."""
    try:
        for message in sent:
            socket.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))
        # What comes after them all.
        last = {"query": "{ version }"}
        socket.send({"type": "subscribe" if protocol == TRANSPORT else "start", "id": "the last", "payload": last})
        while True:
            answer = socket.receive()
            served.told.append(json.dumps(answer))
            assert answer["type"] in ANSWERS[protocol], answer
            payload = answer.get("payload")
            if answer["type"] == "error":
                check_result({"errors": [payload] if protocol == LEGACY else payload}, ids=False)
            elif answer["type"] in ("next", "data"):
                check_result(payload)
            if answer.get("id") == "the last" and answer["type"] in ("complete", "error"):
                return
    except ConnectionClosed:
        code, reason = socket.connection.protocol.close_code, socket.connection.protocol.close_reason
        served.told.append(str(reason))
        assert code in CLOSED_WITH, (code, reason)


@pytest.mark.parametrize("protocol", [TRANSPORT, LEGACY])
def test_messages(on_files: Fuzzed, protocol: str) -> None:
    """Messages in any order, known and unknown: answers of the protocol, or an end with a code of it."""
    tokens = [*on_files.tokens.values(), UNKNOWN_TOKEN]
    init = {"type": "connection_init", "payload": {"Authorization": f"Bearer {tokens[0]}"}}
    several = st.lists(messages(on_files.run_id, tokens), max_size=6)

    @examples(60)
    @given(several.map(lambda rest: [init, *rest]) | several | st.lists(junk | st.text(max_size=9), max_size=3))
    @example([init, b"\x00\xff"])
    @example([init, '{"type": "ping", "payload": {"\\ud800": "\\udfff"}}'])
    @example([init, "[" * 100_000])
    @example([init, '{"type": "ping", "payload": ' + "9" * 5000 + "}"])
    def check(sent: list[Any]) -> None:
        with opened(on_files.server, protocol, init=False) as socket:
            check_messages(on_files, socket, protocol, sent)

    check()


HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame whose head and body need not agree."""
    body = draw(
        st.sampled_from([b"", b"{}", b'{"type":"connection_init"}', b"\xff\xfe", b"\x03\xe8", b"\x03\xee"])
        | st.binary(max_size=130)
    )
    head = draw(
        st.sampled_from([0x81, 0x01, 0x80, 0x00, 0x88, 0x89, 0x8A, 0x82, 0xC1, 0x83, 0x8F]) | st.integers(0, 255)
    )
    size = draw(st.just(len(body)) | st.sampled_from([0, 1, 125, 126, 127, 2**16, 2**31, 2**63, 2**64 - 1]))
    mask = draw(st.sampled_from([0x80, 0x80, 0x80, 0]))
    if size < 126:
        length = bytes([mask | size])
    elif size < 2**16:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    return bytes([head]) + length + (b"\0\0\0\0" if mask else b"") + body


def test_frames(on_files: Fuzzed) -> None:
    """Frames with heads that make no sense, split texts, texts that are no UTF-8, controls that are too long."""

    @examples(60)
    @given(st.sampled_from([TRANSPORT, LEGACY, "none", f"{LEGACY}, {TRANSPORT}"]), st.lists(frames(), max_size=4))
    def check(protocol: str, sent: list[bytes]) -> None:
        handshake = HANDSHAKE % b"Sec-WebSocket-Protocol: %s\r\n" % protocol.encode()
        answer = exchange(port_of(on_files), handshake, *sent, upgrades=True)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        on_files.check(101, answer.decode("latin-1"))

    check()


def test_handshakes(on_files: Fuzzed) -> None:
    """Handshakes that lack something, or have too much."""
    lines = (HANDSHAKE % b"Sec-WebSocket-Protocol: graphql-ws\r\nOrigin: http://localhost\r\n").split(b"\r\n")[1:-2]
    places = st.integers(0, len(lines) - 1)

    @examples(60)
    @given(st.sets(places, max_size=2), st.dictionaries(places, st.binary(max_size=12), max_size=2))
    def check(left_out: set[int], changed: dict[int, bytes]) -> None:
        sent = [
            lines[n].partition(b":")[0] + b": " + changed[n] if n in changed else lines[n]
            for n in range(len(lines))
            if n not in left_out
        ]
        request = b"\r\n".join([b"GET /graphql HTTP/1.1", b"Connection: close", *sent]) + b"\r\n\r\n"
        answer = exchange(port_of(on_files), request)
        on_files.check(int(answer[9:12] or 0), answer.decode("latin-1"))

    check()


@pytest.mark.parametrize("field", SUBSCRIPTIONS)
def test_subscriptions(on_files: Fuzzed, field: str) -> None:
    """Whatever subscription fits the schema, over an event stream and over a socket: the first message, or a refusal
    with codes."""
    known = cursors(on_files)

    @examples(15)
    @given(SUBSCRIPTIONS[field], st.data(), st.booleans())
    def check(document: str, data: st.DataObject, socketed: bool) -> None:
        query = aimed(document, data.draw, on_files.run_id, known)
        if socketed:
            with opened(on_files.server, init=False) as socket:
                socket.init(payload={"Authorization": f"Bearer {on_files.tokens['viewer']}"})
                socket.start(query)
                message = socket.receive()
            on_files.told.append(json.dumps(message))
            check_result(message["payload"] if message["type"] == "next" else {"errors": message["payload"]})
            return
        headers = {**on_files.bearer("viewer"), "accept": "text/event-stream", "content-type": "application/json"}
        with on_files.http.stream("POST", "/graphql", json={"query": query}, headers=headers) as answer:
            assert answer.status_code == 200
            line = next(line for line in answer.iter_lines() if line.startswith("data:"))
        on_files.told.append(line)
        check_result(json.loads(line.removeprefix("data:") or "{}"))

    check()


def test_parameters(on_files: Fuzzed) -> None:
    """Event streams by GET: parameters that hold anything, an id of a last event that nobody gave out."""
    texts = st.sampled_from([*DOCUMENTS, "null", "[]", "{}", "{", '{"a": 1}', '{"a": NaN}', "9" * 5000, "\x00"])
    names = st.sampled_from(["query", "variables", "extensions", "operationName", "wait"])

    @examples(60)
    @given(st.sampled_from(DOCUMENTS), st.dictionaries(names, texts, max_size=3), st.text("ab/\xff=", max_size=9))
    def check(document: str, parameters: dict[str, str], last: str) -> None:
        headers = {
            **on_files.bearer("viewer"),
            "accept": "text/event-stream",
            "last-event-id": last.strip().encode("latin-1"),
        }
        query = {"query": document.replace("RUN", on_files.run_id), **parameters}
        with on_files.http.stream("GET", "/graphql", params=query, headers=headers) as answer:  # type: ignore[arg-type]
            if answer.status_code != 200:
                on_files.check(answer.status_code, answer.read().decode())
                return
            line = next(line for line in answer.iter_lines() if line.startswith("data:"))
        on_files.told.append(line)
        check_result(json.loads(line.removeprefix("data:") or "{}"))

    check()
