"""The live feed of a compute log: what is there, then live, then the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from daglens import upkeep
from daglens.resolvers import cursors, log_text
from daglens.resolvers.calls import StorageCalls
from daglens.resolvers.compute_logs import Chunk
from daglens.resolvers.errors import InvalidCursor
from daglens.resolvers.live import LiveHub
from daglens.storage import event_types as et
from daglens.storage.contract import ComputeLogManager
from daglens.storage.errors import LogUnavailable, RunNotFound, StorageUnavailable
from daglens.storage.records import PROCESS_STEP_KEY, ComputeIO, EventDraft, LogBytes, LogKey, LogUnavailableReason
from tests.live.conftest import History, Viewer, hub_of

OUT = ComputeIO.STDOUT
KEY = LogKey("run", "extract")


class ObservedLogs:
    """A compute log manager in front of another: counts reads, and fails them when told to."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.reads = 0
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, key: LogKey, io: ComputeIO, start: int, max_bytes: int) -> LogBytes:
        """See ComputeLogManager."""
        if self.failure is not None:
            raise self.failure
        self.reads += key == KEY
        found: LogBytes = self._inner.read(key, io, start, max_bytes)
        return found


@pytest.fixture
def logs(history: History) -> ObservedLogs:
    """The instance's logs; the run is there."""
    observed = ObservedLogs(history.instance.compute_logs)
    history.instance = replace(history.instance, compute_logs=cast(ComputeLogManager, observed))
    history.create()
    return observed


@pytest.fixture
async def hub(history: History, logs: ObservedLogs) -> AsyncIterator[LiveHub]:
    """A hub with quick settings."""
    async with hub_of(history) as made:
        yield made


class Reader:
    """Reads a feed of a log and remembers what it was told."""

    def __init__(self, hub: LiveHub, *, key: LogKey = KEY, attempt: int | None = None, after: str | None = None):
        self.feed = hub.compute_log(key.run_id, key.step_key, OUT, attempt, after)
        self.chunks: list[Chunk] = []

    @property
    def text(self) -> str:
        """All text had."""
        return "".join(chunk.data for chunk in self.chunks)

    async def next(self) -> Chunk:
        """The next chunk."""
        self.chunks.append(await anext(self.feed))
        return self.chunks[-1]

    async def through(self, end_byte: int) -> Chunk:
        """Read up to a byte."""
        while not self.chunks or self.chunks[-1].end_byte < end_byte:
            await self.next()
        return self.chunks[-1]

    async def all(self) -> str:
        """Read until the feed ends; the text."""
        async for chunk in self.feed:
            self.chunks.append(chunk)
        return self.text


def write(history: History, text: str | bytes, *, key: LogKey = KEY, complete: bool = False) -> None:
    """Append to a log."""
    logs = history.instance.compute_logs
    try:
        offset = logs.read(key, OUT, 0, 0).size_bytes
    except LogUnavailable:
        offset = 0
    logs.append(key, OUT, offset, text.encode() if isinstance(text, str) else text, complete=complete)


async def test_subscribed_before_the_step_starts(history: History, hub: LiveHub) -> None:
    """Who comes before there is a log has an empty chunk at once, then the log, then the end (weaknesses 22)."""
    reader = Reader(hub)
    first = await reader.next()
    assert (first.data, first.complete, first.has_more, first.attempt, first.end_byte) == ("", False, False, 1, 0)
    write(history, "one\n")
    await reader.through(4)
    write(history, "two\n", complete=True)
    assert await reader.all() == "one\ntwo\n"
    assert reader.chunks[-1].complete


async def test_pieces_add_up(history: History, logs: ObservedLogs) -> None:
    """Whatever the pieces are, the chunks' text is the log's, and each chunk begins where the one before ended."""
    data = ("żółw 🐢 " * 2000).encode() + b"\xff\xfe stray " + "ende 🐢".encode()
    async with hub_of(history, chunk_bytes=1000, log_window_bytes=3000) as hub:
        reader = Reader(hub)
        await reader.next()
        for start in range(0, len(data), 777):
            write(history, data[start : start + 777])
            if start % 3 == 0:
                await reader.through(max(0, start - 4))
        write(history, b"", complete=True)
        assert await reader.all() == data.decode(errors="replace")
        assert sum(chunk.invalid_bytes for chunk in reader.chunks) == 2
        ends = [chunk.end_byte for chunk in reader.chunks]
        assert [chunk.start_byte for chunk in reader.chunks] == [0, *ends[:-1]]
        assert max(len(chunk.data.encode()) for chunk in reader.chunks) <= 1010
        assert [chunk.complete for chunk in reader.chunks] == [False] * (len(ends) - 1) + [True]


async def test_history_first(history: History, logs: ObservedLogs) -> None:
    """A finished log is delivered whole, and the feed ends; an empty one is one empty, complete chunk."""
    write(history, "x" * 5000, complete=True)
    write(history, "", key=LogKey("run", "silent"), complete=True)
    async with hub_of(history, chunk_bytes=1000) as hub:
        reader = Reader(hub)
        assert await reader.all() == "x" * 5000
        assert [chunk.has_more for chunk in reader.chunks] == [True] * 4 + [False]
        silent = Reader(hub, key=LogKey("run", "silent"))
        assert await silent.all() == ""
        assert [chunk.complete for chunk in silent.chunks] == [True]
        assert hub.feeds == 0


async def test_resumes_at_a_cursor(history: History, hub: LiveHub) -> None:
    """A chunk's cursor continues exactly behind it, on the same attempt."""
    write(history, "first ")
    reader = Reader(hub)
    cursor = (await reader.through(6)).cursor
    await reader.feed.aclose()
    write(history, "second", complete=True)
    write(history, "another attempt", key=LogKey("run", "extract", 2))
    resumed = Reader(hub, after=cursor)
    assert await resumed.all() == "second"
    assert resumed.chunks[0].attempt == 1


async def test_latest_attempt(history: History, hub: LiveHub) -> None:
    """Without an attempt or a cursor the latest attempt at subscribing is read; an earlier one when it is asked for."""
    write(history, "one", complete=True)
    write(history, "two", key=LogKey("run", "extract", 2), complete=True)
    assert await Reader(hub).all() == "two"
    assert await Reader(hub, attempt=1).all() == "one"


async def test_dead_writer(history: History, hub: LiveHub) -> None:
    """The log of a writer that died ends when its run has ended, with what it began of a character."""
    write(history, b"half a turtle: " + "🐢".encode()[:2])
    reader = Reader(hub)
    await reader.through(15)
    history.write(1, event_type=et.RUN_FAILURE)
    assert await reader.all() == "half a turtle: \ufffd\ufffd"
    assert not reader.chunks[-1].complete


async def test_presumed_failure_ends_the_feed(history: History, hub: LiveHub) -> None:
    """A run presumed dead doesn't keep the readers of its logs for ever (weaknesses 12)."""
    write(history, "last words")
    history.instance.append("run", [EventDraft(et.RUN_FAILURE, data={"presumed": True})])
    assert await Reader(hub).all() == "last words"


@pytest.mark.parametrize("told_by", ["event", "log"])
async def test_later_attempt_ends_the_feed(history: History, hub: LiveHub, told_by: str) -> None:
    """When a later attempt has begun, nobody writes to this one any more."""
    write(history, "first try")
    reader = Reader(hub)
    await reader.through(9)
    if told_by == "log":
        write(history, "second", key=LogKey("run", "extract", 2))
    else:
        for kind in (et.STEP_START, et.STEP_UP_FOR_RETRY, et.STEP_RESTARTED):
            history.instance.append("run", [EventDraft(kind, step_key="extract")])
    assert await reader.all() == "first try"


async def test_log_that_never_came(history: History, hub: LiveHub) -> None:
    """A log that was never captured ends with NOT_CAPTURED once the run has ended; and names the shared log, if any."""
    reader = Reader(hub)
    await reader.next()
    write(history, "of two steps", key=LogKey("run", PROCESS_STEP_KEY))
    history.end()
    with pytest.raises(LogUnavailable) as raised:
        await reader.all()
    assert raised.value.reason == LogUnavailableReason.NOT_CAPTURED
    assert PROCESS_STEP_KEY in str(raised.value)


@pytest.mark.parametrize("reason", ["FORBIDDEN", "EXPIRED", "NOT_SHARED"])
async def test_log_that_cannot_be_read(history: History, hub: LiveHub, logs: ObservedLogs, reason: str) -> None:
    """Where waiting is of no use the feed ends at once, with the reason."""
    logs.failure = LogUnavailable(reason, "Ask worker-7.")
    with pytest.raises(LogUnavailable) as raised:
        await Reader(hub).all()
    assert raised.value.reason == reason


async def test_outage_delays_and_loses_nothing(history: History, hub: LiveHub, logs: ObservedLogs) -> None:
    """A storage that doesn't answer for a while is waited for."""
    reader = Reader(hub)
    await reader.next()
    logs.failure = StorageUnavailable("Told to fail.")
    pending = asyncio.create_task(reader.through(5))
    failures = 0

    def count() -> StorageUnavailable:
        nonlocal failures
        failures += 1
        return StorageUnavailable("Told to fail.")

    while failures < 3:
        logs.failure = count()
        await asyncio.sleep(0.005)
    logs.failure = None
    write(history, "after")
    assert (await pending).end_byte == 5


async def test_refusals(history: History, hub: LiveHub) -> None:
    """Unknown runs, steps that can't be, and cursors of elsewhere each have their own answer; nothing of them stays."""
    write(history, "abc")
    here = cursors.log_cursor(KEY, OUT, 2)
    with pytest.raises(RunNotFound):
        await Reader(hub, key=LogKey("nobody", "extract")).next()
    with pytest.raises(RunNotFound):
        await Reader(hub, key=LogKey("../../x", "extract")).next()
    for key in (LogKey("run", ""), LogKey("run", "\0"), LogKey("run", "x" * 300)):
        with pytest.raises(LogUnavailable):
            await Reader(hub, key=key).next()
    with pytest.raises(LogUnavailable):
        await Reader(hub, attempt=0).next()
    for after, attempt in ((here, 2), (cursors.log_cursor(KEY, OUT, 4), None), ("l1.nonsense", None)):
        with pytest.raises(InvalidCursor):
            await Reader(hub, after=after, attempt=attempt).next()
    with pytest.raises(InvalidCursor):
        await Reader(hub, key=LogKey("run", "load"), after=here).next()
    assert hub.feeds == 0


async def test_deleted_run(history: History, hub: LiveHub) -> None:
    """A viewer of a log whose run is deleted is told."""
    write(history, "abc")
    reader = Reader(hub)
    await reader.through(3)
    await asyncio.to_thread(upkeep.delete_run, history.instance, "run")
    with pytest.raises(RunNotFound):
        await reader.all()


async def test_one_poller_whoever_watches(history: History, logs: ObservedLogs) -> None:
    """Thirty viewers of one log cost the reads of one, and share one feed."""
    async with hub_of(history, poll_s=3600.0) as hub:
        readers = [Reader(hub) for _ in range(30)]
        await asyncio.gather(*(reader.next() for reader in readers))
        assert hub.feeds == 1
        assert hub.viewers == 30
        write(history, "news")
        before = logs.reads
        feed = next(iter(hub._logs.values()))
        feed.wake()
        await asyncio.gather(*(reader.through(4) for reader in readers))
        assert logs.reads - before == 1
        await asyncio.gather(*(reader.feed.aclose() for reader in readers))
        assert hub.feeds == 0


async def test_text_is_made_once_whoever_watches(
    history: History, hub: LiveHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty viewers of a log that grows: each piece is read as text once; what stands before the window, off the event
    loop. A piece of stray bytes takes a while, and would hold up everybody for each of them."""
    made: list[tuple[bytes, threading.Thread]] = []
    decode = log_text.decode_chunk

    def noting(data: bytes, at_end: bool) -> log_text.Decoded:
        made.append((data, threading.current_thread()))
        return decode(data, at_end)

    monkeypatch.setattr(log_text, "decode_chunk", noting)
    write(history, b"before \xff\n")
    readers = [Reader(hub) for _ in range(20)]
    await asyncio.gather(*(reader.through(9) for reader in readers))
    assert {thread is threading.main_thread() for data, thread in made if data} == {False}
    for number in range(3):
        made.clear()
        line = b"line %d \xff\n" % number
        write(history, line)
        await asyncio.gather(*(reader.through(9 + (number + 1) * len(line)) for reader in readers))
        assert [data for data, _ in made if data] == [line]
    assert {reader.text for reader in readers} == {"before \ufffd\nline 0 \ufffd\nline 1 \ufffd\nline 2 \ufffd\n"}
    await asyncio.gather(*(reader.feed.aclose() for reader in readers))


async def test_storage_that_is_paid_for_each_look(history: History, logs: ObservedLogs, monkeypatch: Any) -> None:
    """A storage sets the least pause between two looks at a log; each look serves all viewers. Local files set none."""
    assert StorageCalls(history.instance).least_log_poll_s == 0.0
    monkeypatch.setattr(logs, "least_poll_s", 3600.0, raising=False)
    async with hub_of(history) as hub:
        readers = [Reader(hub) for _ in range(5)]
        for reader in readers:
            await reader.next()
        joined = logs.reads
        write(history, "news")
        # Ten rounds of the hub's own pace: a viewer of events is served, and nobody has looked at the log.
        viewer = Viewer(hub)
        await viewer.next()
        for seq in range(1, 11):
            history.write(1)
            await viewer.through(seq)
        assert logs.reads - joined <= 1, "only the test's own"
        next(iter(hub._logs.values())).wake()
        await asyncio.gather(*(reader.through(4) for reader in readers))
        assert logs.reads - joined <= 2, "one look for all"
        await asyncio.gather(viewer.close(), *(reader.feed.aclose() for reader in readers))


async def test_slow_viewer_holds_nothing(history: History, logs: ObservedLogs) -> None:
    """A viewer that stops reading holds no bytes on the server, and later gets all."""
    async with hub_of(history, log_window_bytes=2000, chunk_bytes=500) as hub:
        slow, quick = Reader(hub), Reader(hub)
        await slow.next()
        await quick.next()
        for n in range(1, 51):
            write(history, "0123456789" * 40)
            await quick.through(n * 400)
        assert len(next(iter(hub._logs.values()))._window) <= 2000
        write(history, "", complete=True)
        assert await slow.all() == "0123456789" * 2000
        await quick.feed.aclose()


async def test_joins_ahead_of_the_feed(history: History, logs: ObservedLogs) -> None:
    """Who comes back with a cursor that lies beyond what the hub has read of a log, which has been closed meanwhile,
    gets the rest, and holds up nobody until then."""
    async with hub_of(history, log_window_bytes=20, coalesce_s=0.02) as hub:
        early = Reader(hub)
        await early.next()
        write(history, "".join(f"line {number:04}\n" for number in range(100)), complete=True)
        late = Reader(hub, after=cursors.log_cursor(KEY, OUT, 700))
        assert await late.all() == "".join(f"line {number:04}\n" for number in range(70, 100))
        assert late.chunks[-1].complete
        assert await early.all() == "".join(f"line {number:04}\n" for number in range(100))
