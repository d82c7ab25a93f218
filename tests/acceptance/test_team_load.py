"""Many clients at once: few connections, waits that hold nothing, and no event missed by whoever joins."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from daglens.instance import Instance
from daglens.storage.records import EventDraft, NewRun
from daglens.testing.server import LiveServer, serve_in_thread
from tests.acceptance.conftest import ROLE, TeamHome
from tests.acceptance.followers import LAST, TRANSPORTS, Follower
from tests.acceptance.programs import PATIENCE_S, Serve, Server, until
from tests.recorder.conftest import environment
from tests.server.conftest import TRANSPORT
from tests.storages.postgres_server import PostgresServer

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


def client(url: str) -> httpx.AsyncClient:
    """One that opens a connection for each request under way."""
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=LIMITS)


async def ask(http: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    """The data of an answer, which has no errors."""
    answer = (await http.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer
    return answer["data"]


# ---------------------------------------------------------------- connections

POOL = 5
CREATE = 'mutation { createRun(input: { runId: "run", pipelineName: "p" }) { __typename } }'
REPORT = 'mutation { reportEvents(runId: "run", events: [{ eventType: "LOG_MESSAGE" }]) { __typename } }'
QUERIES = [
    "{ runsOrError { ... on RunPage { nodes { runId tags { key value } stats { events } stepStats { stepKey } } } } }",
    '{ runOrError(runId: "run") { ... on Run { status events(limit: 5) { nodes { seq } } } } }',
    '{ runEventsOrError(runId: "run") { ... on EventPage { nodes { seq message } } } runTagKeys }',
    REPORT,
]


async def test_queries_hold_no_more_connections_than_the_pool(
    postgres: PostgresServer, team_home: TeamHome, serve: Serve
) -> None:
    """200 requests at once, beside a subscription: the server's database sees at most the pool's
    connections, and the one that listens."""
    server = serve(team_home.write(pool_size=POOL))
    server.ask(CREATE)
    follower = Follower(TRANSPORTS[TRANSPORT], [server.url], "run")
    until(lambda: server.live_mode == "LISTEN", "it listens")
    done = threading.Event()
    counts: list[int] = []

    def count() -> None:
        while not done.is_set():
            counts.append(backends(postgres))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        async with client(server.url) as http:
            await asyncio.gather(*(ask(http, QUERIES[n % len(QUERIES)]) for n in range(200)))
    finally:
        done.set()
        counting.join()
    assert 2 < max(counts) <= POOL + 1
    server.ask(REPORT.replace("LOG_MESSAGE", LAST))
    assert [event["seq"] for event in follower.whole()] == list(range(1, 52))


def backends(postgres: PostgresServer) -> int:
    ((count,),) = postgres.execute(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'")
    return int(count)


# ---------------------------------------------------------------- waits

WAITING = 64
LONG_POLL = """query($after: Cursor) { runEventsOrError(runId: "run", after: $after, waitSeconds: 25) {
  ... on EventPage { nodes { seq message } cursor } } }"""
PAGE = LONG_POLL.replace("25", "0")


@pytest.fixture(params=["SQLite", "Postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Instance]:
    """An instance whose storages take one call at a time."""
    if request.param == "Postgres":
        home: TeamHome = request.getfixturevalue("team_home")
        path = home.write(pool_size=1)
    else:
        path = tmp_path / "sqlite"
    with Instance.open(home=path) as instance:
        yield instance


async def test_waiting_holds_nothing(kept: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 long polls wait at once where the storage takes one call at a time: meanwhile no call is under way but now
    and then a look for all of them together, other requests are answered, by as many calls as before, and no thread
    waits. News reaches all of them."""
    monkeypatch.setattr(type(kept.runs), "pool_size", 1)
    monkeypatch.setattr(type(kept.events), "pool_size", 1)
    kept.create_run(NewRun("run", "nightly"))
    kept.append("run", [EventDraft("LOG_MESSAGE", message="before")])
    with serve_in_thread(kept) as server, noted(server) as calls:
        async with client(server.url) as http:
            cursor = (await ask(http, PAGE))["runEventsOrError"]["cursor"]
            before = await calls_of(http, calls)
            threads = threading.active_count()
            waits = [asyncio.create_task(ask(http, LONG_POLL, after=cursor)) for _ in range(WAITING)]
            await asyncio.to_thread(
                until, lambda: server.on_loop(lambda: server.hub.viewers) == WAITING, "all of them wait"
            )
            assert await calls_of(http, calls) == before
            assert not any(wait.done() for wait in waits)
            assert threading.active_count() < threads + WAITING / 2
            await asyncio.to_thread(kept.append, "run", [EventDraft("LOG_MESSAGE", message="news")])
            for answer in await asyncio.gather(*waits):
                (event,) = answer["runEventsOrError"]["nodes"]
                assert (event["seq"], event["message"]) == (2, "news")


@contextmanager
def noted(server: LiveServer) -> Iterator[list[str]]:
    """The storage calls that the server makes from here on, the polls of its live feeds left out."""
    called: list[str] = []
    calls = server.app.state.served.calls
    before = calls._call

    async def noting(section: str, storage: Any, call: Any) -> Any:
        if not (asyncio.current_task() or server).get_name().startswith("daglens-"):  # type: ignore[union-attr]
            called.append(section)
        return await before(section, storage, call)

    calls._call = noting
    try:
        yield called
    finally:
        calls._call = before


async def calls_of(http: httpx.AsyncClient, calls: list[str]) -> list[str]:
    """The storage calls that one request of each kind takes."""
    del calls[:]
    await ask(http, QUERIES[0])
    await ask(http, QUERIES[2])
    return sorted(calls)


# ---------------------------------------------------------------- joiners

JOINERS = 1000
AT_ONCE = 25
PER_SOCKET = 10
WRITES = """
import itertools, sys, time
from daglens.instance import Instance
from daglens.storage.records import EventDraft
with Instance.open(home=sys.argv[1]) as instance:
    for number in itertools.count(1):
        instance.append("run", [EventDraft("LOG_MESSAGE", message=str(number))])
        time.sleep(1 / 120)
"""
JOIN = """subscription($after: Cursor) { runEvents(runId: "run", after: $after) {
  ... on RunEventsBatch { events { seq message } cursor caughtUp } } }"""


@pytest.fixture(params=["SQLite", "Postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An instance's folder."""
    if request.param == "Postgres":
        team_home: TeamHome = request.getfixturevalue("team_home")
        return team_home.path
    return tmp_path / "sqlite"


@contextmanager
def writing(home: Path) -> Iterator[None]:
    """One process stores about 100 events a second, one by one."""
    with Instance.open(home=home) as instance:
        instance.create_run(NewRun("run", "nightly"))
    with subprocess.Popen([sys.executable, "-c", WRITES, str(home)], env=environment(home)) as writer:
        try:
            yield
            assert writer.poll() is None
        finally:
            writer.kill()


async def test_whoever_joins_misses_nothing(home: Path, serve: Serve) -> None:
    """1,000 clients, 25 at a time, join at their own moments while events are written, some from the run's beginning
    and most behind what an earlier one has had: each is given every event from there on, up to well beyond the
    history (weaknesses 41)."""
    server = serve(home)
    with writing(home):
        # Cursors that somebody was given, and the seq behind each.
        places: list[tuple[str | None, int]] = [(None, 0)]
        numbers = iter(range(JOINERS))

        async def come_in_turn() -> int:
            joined = 0
            while mine := list(itertools.islice(numbers, PER_SOCKET)):
                async with sockets(server) as socket:
                    for number in mine:
                        await join(socket, number, places)
                        joined += 1
            return joined

        assert sum(await asyncio.gather(*(come_in_turn() for _ in range(AT_ONCE)))) == JOINERS


@asynccontextmanager
async def sockets(server: Server) -> AsyncIterator[ClientConnection]:
    """An acknowledged WebSocket."""
    address = f"ws{server.url.removeprefix('http')}/graphql"
    async with connect(address, subprotocols=[TRANSPORT], compression=None, proxy=None) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init"}))
        assert (await received(socket))["type"] == "connection_ack"
        yield socket


async def join(socket: ClientConnection, number: int, places: list[tuple[str | None, int]]) -> None:
    """One client, by a subscription of its own, until it was given five events beyond what was there."""
    after, seq = (None, 0) if number < AT_ONCE else places[-1 - number % min(3, len(places))]
    payload = {"query": JOIN, "variables": {"after": after}}
    await socket.send(json.dumps({"type": "subscribe", "id": str(number), "payload": payload}))
    live: int | None = None
    while live is None or live < 5:
        message = await received(socket)
        if message.get("id") != str(number):
            continue  # sent before the server knew that the last one had gone
        assert message["type"] == "next", message
        batch = message["payload"]["data"]["runEvents"]
        for event in batch["events"]:
            assert (event["seq"], event["message"]) == (seq + 1, str(seq + 1))
            seq += 1
        if live is not None:
            live += len(batch["events"])
        elif batch["caughtUp"]:
            live = 0
    await socket.send(json.dumps({"type": "complete", "id": str(number)}))
    if seq > places[-1][1]:
        places.append((batch["cursor"], seq))


async def received(socket: ClientConnection) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return json.loads(await socket.recv())
