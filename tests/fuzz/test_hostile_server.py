"""A recorder's server may be anything that answers on its port: nothing that it says breaks the recorder."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daglens.recorder.remote.address import ServerAddress, Token
from daglens.recorder.remote.connection import GraphQLConnection, InputRefused, ServerAway
from daglens.recorder.remote.operations import RunSeen, Server
from daglens.storage.errors import LogGap, RunConflict, RunDeleted, RunNotFound
from daglens.storage.records import ComputeIO, LogKey, RunStatus
from tests.fuzz.served import examples

TOKEN = "dgl_pl4nted"
FORESEEN = (ServerAway, InputRefused, LogGap, RunConflict, RunDeleted, RunNotFound)


@dataclass
class Hostile:
    """Answers every connection with the same bytes, and ends it."""

    port: int
    answer: bytes = b""


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    """One on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Hostile(listening.getsockname()[1])
        done = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    if done.is_set():
                        return
                    connection.settimeout(60)
                    request = b""
                    while not request.endswith(b"}}"):
                        request += connection.recv(65_536) or b"}}"
                    connection.sendall(server.answer)
                    connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server
        done.set()
        socket.create_connection(("127.0.0.1", server.port)).close()
        thread.join()


def is_seen(answer: Any) -> bool:
    """A RunSeen as its docstring has it."""
    if not isinstance(answer, RunSeen):
        return False
    found: tuple[Any, Any, Any] = (answer.status, answer.heard, answer.pipeline_name)
    status, heard, name = found
    return isinstance(status, RunStatus) and isinstance(heard, bool) and (name is None or isinstance(name, str))


def is_created(answer: Any) -> bool:
    """What create_run promises."""
    return isinstance(answer[0], bool) and is_seen(answer[1])


def is_count(answer: Any) -> bool:
    """A size or a number of attempts."""
    return type(answer) is int and answer >= 0


KEY = LogKey("r", "s", 1)
OPERATIONS: dict[str, tuple[Callable[[Server], Any], Callable[[Any], bool]]] = {
    "createRun": (lambda server: server.create_run({"runId": "r"}), is_created),
    "reportEvents": (lambda server: server.report_events("r", [b"{}"]), is_seen),
    "heartbeat": (lambda server: server.heartbeat("r", 60), is_seen),
    "addRunTags": (lambda server: server.add_tags("r", []), is_seen),
    "appendComputeLog": (lambda server: server.append_log(KEY, ComputeIO.STDOUT, 0, b"x", complete=False), is_count),
    "look": (lambda server: server.look("r"), is_seen),
    "attempts": (lambda server: server.attempts("r", "s"), is_count),
}


def check_answer(hostile: Hostile, name: str) -> None:
    """The operation has a result of its type, or fails as foreseen."""
    ask, is_right = OPERATIONS[name]
    connection = GraphQLConnection(ServerAddress.parse(f"http://127.0.0.1:{hostile.port}"), Token.given(TOKEN))
    with contextlib.closing(connection):
        try:
            result = ask(Server(connection))
        except FORESEEN as error:
            told = str(error)
        else:
            told = ""
            assert is_right(result), result
    assert TOKEN not in told


numbers = st.sampled_from([0, 1, -1, 2**63, 10**400, 1e308, float("inf"), float("nan"), "1", "-1", "x", "9" * 5000])
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.text(max_size=5)
    | st.sampled_from(["SUCCESS", "RUN_DELETED", "UNAUTHENTICATED"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KINDS = ["RunNotFoundError", "RunConflictError", "ComputeLogOffsetError", "InvalidInputError", "Error"]
RUN = {"status": "STARTED", "lastHeardAt": None, "pipelineName": "p"}
# What a daglens server answers, and every error at once.
SOUND: dict[str, dict[str, Any]] = {
    "createRun": {"created": True, "run": RUN},
    "reportEvents": {"run": RUN},
    "heartbeat": {"run": RUN},
    "addRunTags": {"run": RUN},
    "appendComputeLog": {"sizeBytes": "1"},
    "look": RUN,
    "attempts": {"stepStats": [{"attempts": 1}, {"attempts": 2}]},
}
ERROR = {"code": "RUN_DELETED", "message": "m", "path": "p", "sizeBytes": "5"}


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """The value with one part, at any depth, replaced by another or left out."""
    parts = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    if not parts or not draw(st.integers(0, 5)):
        return draw(values)
    key, part = draw(st.sampled_from(parts))
    copy = value.copy()
    if draw(st.integers(0, 5)):
        copy[key] = draw(spoilt(part))
    else:
        del copy[key]
    return copy


errors = st.lists(
    st.fixed_dictionaries({"message": values, "extensions": st.fixed_dictionaries({"code": values}) | values}) | values,
    max_size=2,
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_answers(hostile: Hostile, name: str) -> None:
    """Answers with fields of other kinds, numbers that no size can be, errors of any form."""
    field = "runOrError" if name in ("look", "attempts") else name
    sound = SOUND[name] | {"__typename": "Success"}
    error = st.sampled_from(KINDS).flatmap(lambda kind: spoilt(ERROR | {"__typename": kind}))

    @examples(80)
    @example(sound | {"sizeBytes": float("inf"), "stepStats": [{"attempts": float("inf")}]}, None, 200)
    @example(sound | {"sizeBytes": -1, "stepStats": [{"attempts": -1}, []]}, None, 200)
    @given(spoilt(sound) | error, st.just(None) | errors, st.sampled_from([200, 200, 200, 400, 401, 413, 500]))
    def check(answer: Any, told: Any, status: int) -> None:
        body = {"data": {field: answer}} | ({} if told is None else {"errors": told})
        text = json.dumps(body).replace("Infinity", "1e999").encode()
        hostile.answer = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text)
        check_answer(hostile, name)

    check()


def test_bytes(hostile: Hostile) -> None:
    """Anything in the place of HTTP, of its head and of its body."""
    heads = st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 99999 \xff\r\n",
            b"HTTP/1.1 -1\r\n",
            b"HTTP/9 200\r\n",
            b"HTTP/1.1 301 X\r\nLocation: \x1b[31m\xff\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\n",
            b"HTTP/1.1 204 X\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200,
            b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n",
        ]
    )
    bodies = st.sampled_from([b"-5\r\n{}\r\n", b"zz\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"[" * 100_000, b"9" * 5000, b"{}"])

    @examples(150)
    @given(st.binary(max_size=40) | st.builds(b"%s%s\r\n%s".__mod__, st.tuples(heads, st.binary(max_size=9), bodies)))
    @example(b"")
    @example(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (5 * 1024 * 1024))
    def check(answer: bytes) -> None:
        hostile.answer = answer
        check_answer(hostile, "heartbeat")

    check()
