"""Subscriptions that many send are executed once a batch, whatever place each viewer has reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest

from daglens.resolvers import cursors
from daglens.resolvers.context import RequestContext
from daglens.resolvers.live import LiveHub, RunGone
from daglens.schema.build import build_schema
from daglens.server.answers import json_bytes
from daglens.server.graphql_request import GraphQLRequest
from daglens.server.live_results import LiveResults, Result
from daglens.server.results import payload_of
from daglens.storage import event_types as et
from daglens.storage.records import EventDraft
from tests.live.conftest import History, history, hub_of, until

__all__ = ["history"]

QUERY = (
    "subscription($runId: ID!, $after: Cursor, $filter: EventFilter) { runEvents(runId: $runId, after: $after, filter: "
    "$filter) { __typename ... on RunEventsBatch { events { __typename seq message cursor } cursor throughSeq caughtUp "
    "runStatus } ... on RunDeleted { runId } ... on Error { code } } }"
)
SCHEMA = build_schema()


class Desk:
    """A hub, and what executes operations over it."""

    def __init__(self, history: History, hub: LiveHub) -> None:
        self.history = history
        self.hub = hub
        self.results = LiveResults(lambda: SCHEMA)

    def context(self, **given: Any) -> RequestContext:
        """Of one operation."""
        return RequestContext(self.results_calls, self.hub, **given)

    @property
    def results_calls(self) -> Any:
        """Calls of the instance's storages."""
        return self.hub._calls

    def executed(self) -> int:
        """How many results were made."""
        return sum(shared.executed for shared in self.results.shared)


@asynccontextmanager
async def desk_of(history: History, **settings: Any) -> AsyncIterator[Desk]:
    """A desk with quick feeds."""
    async with hub_of(history, **settings) as hub:
        desk = Desk(history, hub)
        yield desk
        await desk.results.close()


@pytest.fixture
async def desk(history: History) -> AsyncIterator[Desk]:
    """A desk with quick feeds."""
    async with desk_of(history) as made:
        yield made


class Sender:
    """A viewer as a WebSocket is one: asks for results, is pushed to while it keeps up, may stop reading."""

    def __init__(self, desk: Desk, query: str = QUERY, rights: str = "", **variables: Any) -> None:
        operation = GraphQLRequest(query, {"runId": "run", **variables}, None, None)
        self.bodies: list[bytes] = []
        self.pushed = 0
        self.torn = False
        """Its connection raises where it is written to."""
        self.stalled = asyncio.Event()
        self.stalled.set()
        self._results = desk.results.of(operation, desk.context(url_prefix=rights), self._push)
        self.task = asyncio.create_task(self._read())

    def _push(self, body: bytes) -> bool:
        if self.torn:
            raise RuntimeError("The handler is closed")
        if not self.stalled.is_set():
            return False
        self.bodies.append(body)
        self.pushed += 1
        return True

    async def _read(self) -> None:
        async with aclosing(self._results) as results:
            async for result in results:
                self.bodies.append(result.body)
                await self.stalled.wait()

    @property
    def seqs(self) -> list[int]:
        """seqs of the events had, in the order they came."""
        batches = [orjson.loads(body)["data"]["runEvents"] for body in self.bodies]
        return [event["seq"] for batch in batches for event in batch.get("events", ())]

    async def through(self, seq: int) -> None:
        """Wait until it has had an event."""
        await until(lambda: bool(self.seqs[-1:] >= [seq]))

    async def close(self) -> None:
        """Go away."""
        self.task.cancel()
        await asyncio.wait([self.task])


async def all_through(senders: list[Sender], seq: int) -> None:
    """Wait until all have had an event."""
    for sender in senders:
        await sender.through(seq)


async def close_all(senders: list[Sender]) -> None:
    """All go away."""
    for sender in senders:
        await sender.close()


@pytest.mark.parametrize("viewers", [2, 60])
async def test_one_read_and_one_execution_whoever_watches(history: History, desk: Desk, viewers: int) -> None:
    """A batch is read once and executed once, for two viewers as for sixty; each gets every event once."""
    history.create()
    senders = [Sender(desk) for _ in range(viewers)]
    await until(lambda: all(sender.bodies for sender in senders))
    reads, executed = len(history.events.reads), desk.executed()
    for n in range(1, 21):
        history.write(1)
        await all_through(senders, n)
    assert desk.executed() - executed <= 20
    # A hint and a poll may each ask for a look.
    assert len(history.events.reads) - reads <= 60
    assert all(sender.seqs == list(range(1, 21)) for sender in senders)
    assert all(sender.pushed >= 15 for sender in senders)
    await close_all(senders)


async def test_what_differs_is_executed_apart(history: History, desk: Desk) -> None:
    """Other variables, documents and rights have an execution of their own; an `after` and a key's order don't."""
    history.create()
    history.write(3)
    same = [Sender(desk, after=None), Sender(desk, after="e1..0"), Sender(desk)]
    other = [
        Sender(desk, filter={"minLevel": "DEBUG"}),
        Sender(desk, query=f"{QUERY} "),
        Sender(desk, rights="/prefix"),
    ]
    await all_through(same + other, 3)
    assert len(desk.results.shared) == 4
    assert sorted(shared.viewers for shared in desk.results.shared) == [1, 1, 1, 3]
    await close_all(same + other)


async def test_reconnecting_everywhere_shares_again(history: History) -> None:
    """Viewers who come back with a cursor of their own each go alone to the next border, and are one again there."""
    history.create()
    head = history.write(2010).head
    async with desk_of(history, batch_events=200, border_events=20) as desk:
        places = range(1, 2001, 20)
        senders = [Sender(desk, after=cursors.event_cursor(head.incarnation, n)) for n in places]
        await all_through(senders, 2010)
        for sender, place in zip(senders, places, strict=True):
            assert sender.seqs == list(range(place + 1, 2011))
        # 100 own ways to a border; from there the 100 borders of 20, the ten of 200, and the way to the end.
        assert desk.executed() <= 100 + 100 + 10 + 10
        assert len(history.events.reads) <= 100 + 10 + 20
        executed, reads = desk.executed(), len(history.events.reads)
        for n in range(2011, 2016):
            history.write(1)
            await all_through(senders, n)
        assert desk.executed() - executed <= 5
        assert len(history.events.reads) - reads <= 15
        await close_all(senders)


@pytest.mark.parametrize(
    "document",
    [
        QUERY,
        'subscription($filter: EventFilter) { x: runEvents(filter: $filter, runId: "run") { ...B } } fragment B on '
        "RunEventsBatch { e: events { ... on LogMessageEvent { message } seq seq } cursor }",
        "subscription($no: Boolean = false, $filter: EventFilter, $runId: ID!) { runEvents(runId: $runId, filter: "
        "$filter) { ... on RunEventsBatch { events { seq timestamp @include(if: $no) level eventType } } } }",
    ],
)
@pytest.mark.parametrize("filter", [None, {"eventTypes": ["ENGINE_EVENT", "STEP_START"]}])
async def test_equal_to_unshared_execution(history: History, desk: Desk, document: str, filter: Any) -> None:
    """What two viewers share is, byte for byte, what one alone would have been given."""
    history.create()
    history.write(130)
    history.write(3, event_type=et.ENGINE_EVENT)
    variables = {"runId": "run", "filter": filter}
    senders = [Sender(desk, query=document, filter=filter) for _ in range(2)]
    stream: Any = await SCHEMA.stream(document, variable_values=variables, context_value=desk.context())
    alone: list[bytes] = []

    async def read() -> None:
        async with aclosing(stream):
            async for result in stream:
                alone.append(json_bytes(payload_of(result)))

    reading = asyncio.create_task(read())
    await until(lambda: bool(alone) and all(sender.bodies for sender in senders))
    history.write(40)
    history.instance.append("run", [EventDraft(et.STEP_START, "s", data={"attempt": "no number"})])
    history.end()
    await asyncio.gather(reading, *(sender.task for sender in senders))

    def events(bodies: list[bytes]) -> list[Any]:
        batches = [next(iter(orjson.loads(body)["data"].values())) for body in bodies]
        return [event for batch in batches for event in batch.get("events", batch.get("e", ()))]

    assert alone
    for sender in senders:
        assert events(sender.bodies) == events(alone)
    # Later batches end where each viewer stood when the events came.
    assert senders[0].bodies[0] == senders[1].bodies[0] == alone[0]


async def test_reader_that_stops_holds_nothing(history: History) -> None:
    """A viewer that stops reading is no longer pushed to, holds one message, holds up nobody, and misses nothing."""
    history.create()
    async with desk_of(history, window_events=200) as desk:
        slow, *quick = [Sender(desk) for _ in range(5)]
        await until(lambda: all(sender.bodies for sender in [slow, *quick]))
        for n in range(1, 4):
            history.write(1)
            await all_through([slow, *quick], n)
        slow.stalled.clear()
        for n in range(1, 21):
            history.write(50)
            await all_through(quick, 3 + 50 * n)
        # The one that had been made when it stopped.
        assert len(slow.seqs) <= 3 + 50
        assert len(desk.hub._runs["run"]._window) <= 200
        slow.stalled.set()
        await slow.through(1003)
        assert slow.seqs == list(range(1, 1004))
        await close_all([slow, *quick])


async def test_a_connection_that_is_torn_harms_nobody(history: History, desk: Desk) -> None:
    """A push that raises ends nothing for those who are given the same batch after it."""
    history.create()
    senders = [Sender(desk) for _ in range(5)]
    await until(lambda: all(sender.bodies for sender in senders))
    history.write(1)
    await all_through(senders, 1)
    await until(lambda: sum(shared.walk.followers for shared in desk.results.shared) == 5)
    for torn in senders[::2]:
        torn.torn = True
    for n in range(2, 6):
        history.write(1)
        await all_through(senders, n)
    assert all(sender.seqs == [1, 2, 3, 4, 5] for sender in senders)
    assert all(sender.pushed >= 4 for sender in senders[1::2])
    await close_all(senders)


async def test_texts_are_bounded(history: History, desk: Desk) -> None:
    """Ready-made results stay within their bound, are not kept for a viewer alone, and go with the last viewer."""
    history.create()
    desk.results.texts._most_bytes = 20_000
    alone = Sender(desk)
    await until(lambda: bool(alone.bodies))
    assert len(desk.results.texts) == 0
    senders = [alone, *(Sender(desk) for _ in range(3))]
    for n in range(1, 31):
        history.write(1, size=3000)
        await all_through(senders, n)
        assert desk.results.texts.size_bytes <= 20_000
    await close_all(senders)
    await until(lambda: not desk.results.shared and not desk.results.texts.size_bytes)


async def test_run_that_ends_ends_all(history: History, desk: Desk) -> None:
    """Those who are read for are told of the end of the run with the others."""
    history.create()
    senders = [Sender(desk) for _ in range(10)]
    await until(lambda: all(sender.bodies for sender in senders))
    history.write(2)
    history.end()
    await asyncio.gather(*(sender.task for sender in senders))
    assert all(sender.seqs == [1, 2, 3] for sender in senders)
    assert all(b'"runStatus":"SUCCESS"' in sender.bodies[-1] for sender in senders)


async def test_run_that_is_deleted(history: History, desk: Desk) -> None:
    """Those who are read for are told that the run was deleted."""
    from daglens import upkeep

    history.create()
    history.write(1)
    senders = [Sender(desk) for _ in range(5)]
    await all_through(senders, 1)
    await asyncio.to_thread(upkeep.delete_run, history.instance, "run")
    await asyncio.gather(*(sender.task for sender in senders))
    assert all(b"RunDeleted" in sender.bodies[-1] for sender in senders)


async def test_server_that_stops(history: History, desk: Desk) -> None:
    """Those who are read for are told that the server stops."""
    history.create()
    senders = [Sender(desk) for _ in range(5)]
    await until(lambda: all(sender.bodies for sender in senders))
    history.write(1)
    await all_through(senders, 1)
    await desk.hub.close()
    await asyncio.gather(*(sender.task for sender in senders))
    assert all(b"SERVER_STOPPING" in sender.bodies[-1] for sender in senders)


async def test_what_is_ended_before_it_has_begun(history: History, desk: Desk) -> None:
    """Who waits for a result of an operation that is ended at that moment goes on."""
    history.create()
    sender = Sender(desk)
    await until(lambda: bool(sender.bodies))
    (shared,) = desk.results.shared
    waiting = asyncio.create_task(shared.body(RunGone("run")))
    # One step, in which it asks for what another task is to make.
    await asyncio.sleep(0)
    await shared.close()
    assert await waiting is None
    await sender.close()


async def one(results: AsyncGenerator[Result, None]) -> Result:
    """The first result."""
    async with aclosing(results):
        return await anext(results)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("subscription { runEvents(runId: 3.5) { __typename } }", {}),
        ("subscription { runEvents(runId: 1) { nothing } }", {}),
        ("subscription($runId: ID!) { runEvents(runId: $runId) { __typename } }", {}),
        ("subscription($after: Cursor) { runEvents(runId: 1, after: $after) { __typename } }", {"after": 3}),
    ],
)
async def test_what_is_refused(history: History, desk: Desk, query: str, variables: dict[str, Any]) -> None:
    """An operation that can't be executed is refused as ever; nothing of it stays."""
    for _ in range(2):
        result = await one(desk.results.of(GraphQLRequest(query, variables, None, None), desk.context()))
        assert result.refusal
    assert not desk.results.shared


@pytest.mark.parametrize(
    ("variables", "code"), [({"runId": "nobody"}, "RUN_NOT_FOUND"), ({"after": "x"}, "INVALID_CURSOR")]
)
async def test_one_wrong_viewer_harms_nobody(history: History, desk: Desk, variables: Any, code: str) -> None:
    """A viewer whose cursor or run is wrong is told so, beside others who go on."""
    history.create()
    good = [Sender(desk) for _ in range(2)]
    await until(lambda: all(sender.bodies for sender in good))
    bad = Sender(desk, **variables)
    await bad.task
    assert [orjson.loads(body)["data"]["runEvents"]["code"] for body in bad.bodies] == [code]
    history.write(1)
    await all_through(good, 1)
    await close_all(good)


async def test_cursors_and_resuming(history: History, desk: Desk) -> None:
    """Each result says where to go on behind it, selected or not, shared or not; a transport may begin elsewhere."""
    history.create()
    head = history.write(5).head
    for query in (
        'subscription { runEvents(runId: "run") { ... on RunEventsBatch { throughSeq } } }',
        "subscription { ...S } fragment S on Subscription { "
        'runEvents(runId: "run") { ... on RunEventsBatch { throughSeq } } }',
    ):
        operation = GraphQLRequest(query, None, None, None)
        result = await one(desk.results.of(operation, desk.context()))
        assert result.cursor == cursors.event_cursor(head.incarnation, 5)
        resumed = desk.context()
        resumed.resume_after = cursors.event_cursor(head.incarnation, 3)
        query = query.replace("throughSeq", "throughSeq events { seq }")
        result = await one(desk.results.of(GraphQLRequest(query, None, None, None), resumed))
        assert [event["seq"] for event in orjson.loads(result.body)["data"]["runEvents"]["events"]] == [4, 5]


async def test_viewers_who_vanish_leave_nothing(history: History, desk: Desk) -> None:
    """A hundred viewers who go at any moment leave no task, no feed and no shared operation."""
    history.create()
    before = asyncio.all_tasks()
    senders = [Sender(desk) for _ in range(100)]
    await until(lambda: all(sender.bodies for sender in senders[:30]))
    history.write(5)
    await all_through(senders[:10], 5)
    assert desk.hub.viewers == 100
    await close_all(senders)
    await until(lambda: not (asyncio.all_tasks() - before))
    assert (desk.hub.viewers, desk.hub.feeds, desk.results.shared) == (0, 0, [])
