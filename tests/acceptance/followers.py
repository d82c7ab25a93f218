"""Clients that walk a run's event log to its end, one kind per transport.

A walk is a generator of batches from a cursor on. It ends only with its connection, or when its caller closes it: that
the run is over its caller sees by the event that ends it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.acceptance.programs import PATIENCE_S
from tests.server.conftest import LEGACY, TRANSPORT, Socket

EVENT = "__typename seq cursor timestamp level eventType stepKey message"
LAST = "RUN_SUCCESS"

_PAGE = """query($run: ID!, $after: Cursor, $limit: Int!, $wait: Float!) {
  runEventsOrError(runId: $run, after: $after, limit: $limit, waitSeconds: $wait) { __typename
    ... on EventPage { nodes { %s } cursor hasMore } ... on Error { code message } } }"""
_LIVE = """subscription($run: ID!, $after: Cursor) {
  runEvents(runId: $run, after: $after) { __typename
    ... on RunEventsBatch { events { %s } cursor caughtUp } ... on Error { code message } } }"""

# What a client meets when the server it talks to is killed, or not there.
LOST = (httpx.TransportError, ConnectionClosed, OSError)


class Unavailable(Exception):
    """The server says that its storage doesn't answer now."""


@dataclass(frozen=True)
class Batch:
    """Some events, in the order in which they came; `cursor` goes on behind them."""

    events: Sequence[dict[str, Any]]
    cursor: str | None
    caught_up: bool


Walk = Callable[..., Iterator[Batch]]
"""Called with a server's URL, a run's id, a cursor or None, and as `event` the fields wanted."""


def by_pages(
    url: str, run_id: str, after: str | None = None, *, event: str = EVENT, wait_s: float = 0, limit: int = 1000
) -> Iterator[Batch]:
    """Pages over HTTP, one after another; with `wait_s` the server keeps a question for which it has no news yet."""
    with httpx.Client(timeout=PATIENCE_S) as http:
        while True:
            variables = {"run": run_id, "after": after, "limit": limit, "wait": wait_s}
            answer = http.post(f"{url}/graphql", json={"query": _PAGE % event, "variables": variables})
            assert answer.status_code == 200, answer.text
            page = _found(answer.json(), "runEventsOrError")
            after = page["cursor"] or after
            yield Batch(page["nodes"], after, not page["hasMore"])
            if not page["nodes"] and not wait_s:
                time.sleep(0.02)  # a client that polls


def by_socket(url: str, run_id: str, after: str | None = None, *, event: str = EVENT, protocol: str) -> Iterator[Batch]:
    """A subscription over a WebSocket."""
    address = f"ws{url.removeprefix('http')}/graphql"
    with connect(address, subprotocols=[protocol], max_size=None, compression=None, proxy=None) as connection:  # type: ignore[list-item]
        socket = Socket(connection, protocol)
        socket.init()
        socket.start(_LIVE % event, variables={"run": run_id, "after": after})
        while True:
            message = socket.receive()
            if message["type"] in ("ka", "ping"):
                continue
            assert message["type"] == socket.result_type, message
            found = _found(message["payload"], "runEvents")
            after = found["cursor"] or after
            yield Batch(found["events"], after, found["caughtUp"])


def by_stream(url: str, run_id: str, after: str | None = None, *, event: str = EVENT) -> Iterator[Batch]:
    """A subscription as server-sent events, resumed by the id of its last one."""
    headers = {"accept": "text/event-stream"} | ({} if after is None else {"last-event-id": after})
    body = {"query": _LIVE % event, "variables": {"run": run_id}}
    with (
        httpx.Client(timeout=PATIENCE_S) as http,
        http.stream("POST", f"{url}/graphql", json=body, headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.status_code
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif fields.pop(":", None) is None:
                assert fields["event"] == "next", fields
                found = _found(json.loads(fields["data"]), "runEvents")
                assert fields["id"] == found["cursor"]
                yield Batch(found["events"], fields["id"], found["caughtUp"])
                fields = {}
    raise httpx.RemoteProtocolError("The stream ended before the run.")


def _found(payload: Any, field: str) -> dict[str, Any]:
    errors = payload.get("errors", [])
    data: dict[str, Any] = (payload.get("data") or {}).get(field) or {}
    codes = [error["extensions"]["code"] for error in errors] + ([data["code"]] if "code" in data else [])
    if "STORAGE_UNAVAILABLE" in codes:
        raise Unavailable(payload)
    assert not codes, payload
    return data


TRANSPORTS: dict[str, Walk] = {
    "pages": by_pages,
    "long poll": partial(by_pages, wait_s=3.0),
    TRANSPORT: partial(by_socket, protocol=TRANSPORT),
    LEGACY: partial(by_socket, protocol=LEGACY),
    "server-sent events": by_stream,
}
"""Every way to walk a run's log."""


class Follower(threading.Thread):
    """Walks a run in a thread up to the event that ends it.

    When its server is lost it goes on at the next address with the last cursor, as a client would.

    Attributes:
        events: What it was given, in the order in which it came.
        lost: How often it had to go on elsewhere.
        unavailable: How often it was told that the storage doesn't answer.
        may_go_on: Cleared, it waits for it before it goes on elsewhere.
    """

    def __init__(self, walk: Walk, urls: Sequence[str], run_id: str, *, event: str = EVENT) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self.lost = self.unavailable = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._walk = walk
        self._urls = list(urls)
        self._run_id = run_id
        self._fields = event
        self._after: str | None = None
        self._news = threading.Condition()
        self._error: BaseException | None = None
        self._over = False
        self.start()

    def run(self) -> None:
        """See Thread."""
        try:
            while not self._over:
                try:
                    self._follow(self._urls[0])
                except LOST:
                    self.lost += 1
                    self._urls.append(self._urls.pop(0))
                    self.may_go_on.wait(PATIENCE_S)
                    time.sleep(0.05)
                except Unavailable:
                    self.unavailable += 1
                    time.sleep(0.05)
        except BaseException as error:
            self._error = error
        with self._news:
            self._over = True
            self._news.notify_all()

    def _follow(self, url: str) -> None:
        with closing(self._walk(url, self._run_id, self._after, event=self._fields)) as batches:  # type: ignore[type-var]
            for batch in batches:
                with self._news:
                    self.events += batch.events
                    self._after = batch.cursor
                    self._over = bool(batch.events) and batch.events[-1]["eventType"] == LAST
                    self._news.notify_all()
                if self._over:
                    return

    def wait_for(self, count: int) -> None:
        """Wait until it has so many events in all."""
        with self._news:
            self._news.wait_for(lambda: self._over or len(self.events) >= count, PATIENCE_S)
            assert self._error is None, self._error
            assert len(self.events) >= count, f"{len(self.events)} of {count} events"

    def wait_for_more(self, count: int) -> None:
        """Wait until it has so many more."""
        self.wait_for(len(self.events) + count)

    def whole(self) -> list[dict[str, Any]]:
        """All it was given, when the run is over."""
        self.join(PATIENCE_S)
        assert self._error is None, self._error
        assert not self.is_alive(), f"It waits with {len(self.events)} events."
        return self.events
